"""The experiment files in conf/ without a supernet, from their first job to their last: on fewer data and epochs."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.assemble import Parts, assemble, build_recipes, load_experiment
from spark_nas.commands.search import search
from spark_nas.report.leaderboard import incumbent
from spark_nas.storage.files import LocalFiles
from tests.evaluation.training_support import Digits

CONF = Path(__file__).resolve().parents[2] / "conf"
FEW_UNITS = ["space.max_layers=2", "space.min_units=8", "space.max_units=32"]
SMALL = ["space.channels=4", "space.cells=1"]
LESS: dict[str, tuple[list[str], int]] = {
    "random": ([*FEW_UNITS, "scheduler.trials=4", "scheduler.max_resource=2"], 4),
    "successive_halving": ([*FEW_UNITS, "scheduler.trials=9", "scheduler.max_resource=9"], 9 + 3 + 1),
    "hyperband": ([*FEW_UNITS, "scheduler.max_resource=9"], (9 + 3 + 1) + (5 + 1) + 3),
    "asha": ([*SMALL, "scheduler.trials=3", "scheduler.max_resource=3"], 3 + 1),
    "nas_bench_201": ([*SMALL, "scheduler.trials=4", "scheduler.max_resource=4"], 4 + 1),
    "wrn": (["space.depth=10", "space.width=1", "scheduler.trials=4", "scheduler.max_resource=16"], 4 + 1),
}
"""What is set for each, and the number of jobs that its schedule then has."""


def parts_of(name: str) -> Parts:
    """The experiment with a handful of real images in memory instead of prepared shards."""
    experiment = load_experiment(CONF / f"{name}.yaml", [*LESS[name][0], "engine=local"])
    space = experiment.space.build()
    dataset = Digits((("train", 128), ("valid", 64)))
    evaluator = experiment.evaluator.build(space, dataset, experiment.scheduler.max_resource)
    return Parts(experiment, space, build_recipes(experiment), dataset, evaluator)


@pytest.mark.parametrize("name", LESS)
def test_every_job_of_its_schedule_trains(name: str, tmp_path: Path):
    parts = parts_of(name)
    results = search(parts, LocalFiles(tmp_path / "run"), "run")
    assert {"completed"} == {result.status for result in results}, [result.error for result in results]
    assert LESS[name][1] == len(results)
    best = incumbent(results)
    assert best is not None
    assert parts.experiment.scheduler.max_resource == best.job.resource


def test_draws_are_looked_up_in_the_table(tmp_path: Path):
    experiment = load_experiment(CONF / "nas_bench_201_table.yaml", ["scheduler.trials=60"])
    results = search(assemble(experiment), LocalFiles(tmp_path / "run"), "run")
    assert [200] * 60 == [result.job.resource for result in results]
    best = incumbent(results)
    assert best is not None
    assert 1 - 0.9161 < best.loss < 0.1  # the best cell of all has an accuracy of 91.61 % on cifar10-valid


def test_no_file_is_left_out():
    plain = {path.stem for path in CONF.glob("*.yaml") if load_experiment(path).method is None}
    assert plain == {*LESS, "nas_bench_201_table", "demo"}
