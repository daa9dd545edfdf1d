"""A run is opened where the table that its method has read is not: its record holds the table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from spark_nas.assemble import identity_of, parse_experiment
from spark_nas.commands.runs import Run, recorded_experiment
from spark_nas.commands.standing import _finished
from spark_nas.errors import ConfigError
from spark_nas.report.status import Tally
from spark_nas.spaces.latency import LatencyTable
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.record import begin

TABLE = LatencyTable(1.0, {"cell": {"conv": 2.0, "skip": 0.5}})
METHODS: Mapping[str, dict[str, object]] = {
    "latency": {"name": "proxyless", "reference": 8.0},
    "resources": {"name": "snas", "resource_weight": 0.1},
}


@pytest.fixture(params=METHODS)
def key(request: pytest.FixtureRequest) -> str:
    """The option that names the file."""
    return str(request.param)


@pytest.fixture
def run(key: str, tmp_path: Path) -> Path:
    """A run that has begun; the table is `table.json` beside it."""
    (tmp_path / "table.json").write_text(TABLE.to_json())
    raw = {
        "space": "darts",
        "scheduler": {
            "name": "one_shot",
            "supernets": {"name": "full_training", "trials": 1, "max_resource": 1},
            "candidates": 1,
        },
        "method": {**METHODS[key], key: str(tmp_path / "table.json")},
        "evaluator": "training",
    }
    identity = {"data": None, "method": identity_of(parse_experiment(raw).method)}
    record = {"run_id": "run", "experiment": raw, "file": "e.yaml", "identity": identity, "environment": {}}
    begin(LocalFiles(tmp_path / "run"), {**record, "created_at": "2026-01-02T03:04:05+00:00", "max_resource": 1})
    return tmp_path / "run"


def test_a_table_that_is_gone_is_the_one_in_the_record(run: Path):
    (run.parent / "table.json").unlink()
    opened = Run(str(run))
    assert opened.experiment.method.table == TABLE
    assert not _finished(opened.record, opened.log, Tally())  # it builds the scheduler, which needs the experiment


def test_a_table_that_has_changed_is_the_one_in_the_record(run: Path):
    (run.parent / "table.json").write_text(LatencyTable(5.0, TABLE.options).to_json())
    assert Run(str(run)).experiment.method.table == TABLE


def test_a_record_without_the_table_needs_the_file(run: Path, key: str):
    record = {**Run(str(run)).record, "identity": {}}
    assert recorded_experiment(record).method.table == TABLE
    (run.parent / "table.json").unlink()
    with pytest.raises(ConfigError, match=rf"e\.yaml: method\.{key}: .*cannot be read"):
        recorded_experiment(record)
