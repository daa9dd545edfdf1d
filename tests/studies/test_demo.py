"""What `make demo` promises: its experiment file finds a network that is right on 97 % of digits it never saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spark_nas.cli import main

DEMO = Path(__file__).resolve().parents[2] / "conf" / "demo.yaml"


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.slow
def test_the_demos_winner_is_right_on_97_percent_of_the_test_split(digits: Path, tmp_path: Path):
    """On the local engine, whose table is that of the demo's (`test_engines_agree`), in 40 s of one core."""
    settings = ["--set", f"data.path={digits}", "--set", "engine=local"]
    assert 0 == main(["search", str(DEMO), "--output", str(tmp_path), "--run-id", "demo", *settings])
    assert 0 == main(["retrain", str(tmp_path / "demo")])
    summary = json.loads((tmp_path / "demo" / "retrained.json").read_text())
    assert 20 == summary["epochs"]
    assert 0.97 <= summary["test_accuracy"] <= 1
