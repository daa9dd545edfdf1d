"""Table files of the wrong layout: one line that names the array, what it is and what it must be."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from spark_nas.cli import main
from spark_nas.errors import DataError
from spark_nas.evaluation.tables import lcbench, nas_bench_201, taskset

Arrays = Mapping[str, NDArray[np.generic]]
N = nas_bench_201.CELLS
CELLS: Arrays = {
    "op_names": np.array(nas_bench_201.OPERATIONS),
    "ops": np.array(list(product(range(5), repeat=6)), np.uint8),
    "cifar10-valid/val_acc": np.full((N, 3), 90.0, np.float32),
    **{f"cifar10-valid/{name}": np.ones(N, np.float32) for name in ("train_time", "latency", "model_size")},
}
LCBENCH: Arrays = {"a/val_acc_u16": np.full((4, 52), 65535, np.uint16), "a/time": np.array([[1.0, 52.0]] * 4)}
TASKSET: Arrays = {"a/valid": np.ones((4, 51), np.float32), "a/train": np.ones((4, 51), np.float32)}


def saved(folder: Path, arrays: Arrays) -> str:
    np.savez(folder / "t.npz", **arrays)
    return str(folder / "t.npz")


def test_files_of_the_right_layout_are_read(tmp_path: Path):
    assert (N, 3) == nas_bench_201.load(saved(tmp_path, CELLS), None, one_seed=False).accuracies.shape
    assert (4, 52) == lcbench.load(saved(tmp_path, LCBENCH), "a").losses.shape
    assert (4, 50) == taskset.load(saved(tmp_path, TASKSET), "a", diverged_above=100).losses.shape


@pytest.mark.parametrize(
    ("key", "array", "complaint"),
    [
        ("ops", np.zeros((N, 5), np.uint8), r"is uint8 \[15625, 5\], and must be whole numbers \[15625, 6\]"),
        ("ops", np.zeros((N, 6)), r"is float64 \[15625, 6\], and must be whole numbers \[15625, 6\]"),
        ("ops", np.full((N, 6), 5, np.uint8), "has 5 to 5, and must have 0 to 4"),
        ("op_names", np.array(5), r"is int64 \[\], and must be texts \[5\]"),
        ("cifar10-valid/val_acc", np.ones(N), r"is float64 \[15625\], and must be numbers \[15625, seeds\]"),
        ("cifar10-valid/train_time", np.ones((N, 3)), r"is float64 \[15625, 3\], and must be numbers \[15625\]"),
        ("cifar10-valid/latency", np.array(["fast"] * N), r"is <U4 \[15625\], and must be numbers \[15625\]"),
    ],
)
def test_cells_of_another_layout_are_refused(key: str, array: NDArray[np.generic], complaint: str, tmp_path: Path):
    with pytest.raises(DataError, match=rf"t\.npz: {key}: {complaint}$"):
        nas_bench_201.load(saved(tmp_path, {**CELLS, key: array}), None, one_seed=False)


@pytest.mark.parametrize(
    ("key", "array", "complaint"),
    [
        ("time", np.array([["1 s", "52 s"]] * 4), r"is <U4 \[4, 2\], and must be numbers \[4, 2\]"),
        ("time", np.ones((4, 52)), r"is float64 \[4, 52\], and must be numbers \[4, 2\]"),
        ("time", np.ones((3, 2)), r"is float64 \[3, 2\], and must be numbers \[4, 2\]"),
        ("val_acc_u16", np.full(52, 9, np.uint16), r"is uint16 \[52\], and must be whole numbers \[N, R\]"),
        ("val_acc_u16", np.zeros((0, 52), np.uint16), r"is uint16 \[0, 52\], and must be whole numbers \[N, R\]"),
        ("val_acc_u16", np.full((4, 52), 90, np.int64), "is int64, and must be uint16: accuracy times 65535"),
    ],
)
def test_lcbench_of_another_layout_is_refused(key: str, array: NDArray[np.generic], complaint: str, tmp_path: Path):
    with pytest.raises(DataError, match=rf"t\.npz: a/{key}: {complaint}$"):
        lcbench.load(saved(tmp_path, {**LCBENCH, f"a/{key}": array}), "a")


@pytest.mark.parametrize(
    ("key", "array", "complaint"),
    [
        ("valid", np.array([["0.7"] * 51] * 4), r"is <U3 \[4, 51\], and must be numbers \[N, R \+ 1\]"),
        ("valid", np.ones((4, 1)), r"has the loss before training only: \[4, 1\]"),
        ("train", np.ones((4, 50)), r"is float64 \[4, 50\], and must be numbers \[4, 51\]"),
    ],
)
def test_taskset_of_another_layout_is_refused(key: str, array: NDArray[np.generic], complaint: str, tmp_path: Path):
    arrays = {**TASKSET, f"a/{key}": array}
    if key == "valid" and array.shape[1] == 1:
        arrays["a/train"] = array
    with pytest.raises(DataError, match=rf"t\.npz: a/{key}: {complaint}$"):
        taskset.load(saved(tmp_path, arrays), "a", diverged_above=100)


def test_a_damaged_array_is_one_clear_line(tmp_path: Path):
    np.savez_compressed(tmp_path / "t.npz", **{**TASKSET, "a/valid": np.random.default_rng(1).uniform(size=(99, 51))})
    content = bytearray((tmp_path / "t.npz").read_bytes())
    content[400:4000:7] = bytes(len(content[400:4000:7]))
    (tmp_path / "t.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"t\.npz: a/valid: not a plain array: "):
        taskset.load(str(tmp_path / "t.npz"), "a", diverged_above=100)


def test_on_the_command_line_it_is_one_line_and_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = saved(tmp_path, {**LCBENCH, "a/time": np.array([["1 s", "52 s"]] * 4)})
    (tmp_path / "e.yaml").write_text(
        "space: {name: table_rows, rows: 4}\nscheduler: {name: full_training, trials: 4, max_resource: 52}\n"
        f"evaluator: {{name: tabular, table: lcbench, path: {path}, task: a}}\nengine: simulated\n"
    )
    assert 2 == main(["search", str(tmp_path / "e.yaml"), "--output", str(tmp_path / "runs")])
    (line,) = capsys.readouterr().err.splitlines()
    assert "a/time: is <U4 [4, 2], and must be numbers [4, 2]" in line
