"""The page on table files: what it makes from files of the published structure is what the loaders read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from docs.tools.blocks import blocks
from docs.tools.pages import ROOT
from spark_nas.evaluation.tables import lcbench, taskset

Make = Callable[..., None]
PAGE = "docs/tables.md"


@pytest.fixture
def functions() -> dict[str, Make]:
    """What the page's blocks define, one after another as a reader would paste them."""
    namespace: dict[str, Make] = {}
    for block in blocks(PAGE, (ROOT / PAGE).read_text(encoding="utf-8")):
        exec(compile(block.text, PAGE, "exec", dont_inherit=True), namespace)
    return namespace


def test_lcbench_is_made_from_its_json_in_the_order_of_the_configurations_numbers(
    functions: dict[str, Make], tmp_path: Path
) -> None:
    curves = {str(n): [10.0 + n, 50.0 + n, 87.5] for n in range(11)}  # as texts, "10" comes before "2"
    logs = {
        n: {"log": {"Train/val_accuracy": c, "time": [2.0, 3.5, 6.0 + int(n)]}, "config": {"batch_size": 16}}
        for n, c in sorted(curves.items())
    }
    (tmp_path / "data.json").write_text(json.dumps({"credit-g": logs}))
    functions["lcbench_table"](str(tmp_path / "data.json"), str(tmp_path / "lcbench.npz"))
    table = lcbench.load(str(tmp_path / "lcbench.npz"), "credit-g")
    accuracies = np.array([curves[str(n)] for n in range(11)]) / 100
    np.testing.assert_allclose(1 - table.losses, accuracies, atol=0.5 / 65535)
    assert table.cumulative_seconds is not None
    assert [2.0, 8.0, 14.0] == table.cumulative_seconds[8].tolist()


def test_taskset_is_made_from_its_files_as_the_mean_of_the_replicas(functions: dict[str, Make], tmp_path: Path) -> None:
    ys = np.random.default_rng(1).uniform(size=(7, 5, 4, 4)).astype(np.float32)
    ys[3, 2, 2:, :] = np.nan
    np.savez(tmp_path / "published.npz", xs=np.arange(4) * 200, ys=ys)
    functions["taskset_table"]({"imdb": str(tmp_path / "published.npz")}, str(tmp_path / "taskset.npz"))
    table = taskset.load(str(tmp_path / "taskset.npz"), "imdb", diverged_above=100)
    np.testing.assert_allclose(table.losses, ys[:, :, 1:, 1].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(table.metrics["train_loss"], ys[:, :, 1:, 0].mean(axis=1), rtol=1e-6)
    assert [True, False, False] == np.isfinite(table.losses[3]).tolist()
