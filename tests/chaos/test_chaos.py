"""Whatever is killed, and whenever: nothing committed is lost, trained again or told twice, and every run ends.

One run of two kinds here, which kill drivers, executors and workers, in searches of half the size; `make chaos` makes
CHAOS_RUNS of each of five (13, which is 65 in all).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from spark_nas import driver
from spark_nas.assemble import assemble, load_experiment
from spark_nas.commands.runs import Run
from spark_nas.commands.search import search
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import result_from_json
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.locations import open_files
from tests.chaos.monkey import KINDS, REPOSITORY, Monkey, traced, victims
from tests.cluster import Cluster
from tests.faulty_proxy import Plan, faulty_proxy
from tests.s3_endpoint import S3

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(3600)]
RUNS = int(os.environ.get("CHAOS_RUNS", "1"))
KILLS = int(os.environ.get("CHAOS_KILLS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))
BRIEF = RUNS == 1
PAUSE = 1.5 if BRIEF else 3.0  # half as long in searches of half the size: the same share of them is done by then
ON_DISK = ["hyperband", "asha", "one_shot"] if RUNS > 1 else ["hyperband"]
ON_S3 = ["hyperband", "asha"] if RUNS > 1 else ["asha"]
ALL = [*(("disk", name) for name in ON_DISK), *(("s3", name) for name in ON_S3)]
ENGINES = {"hyperband": "spark_rounds", "asha": "spark_async", "one_shot": "spark_rounds"}
SCHEDULERS = {
    "hyperband": {"name": "hyperband", "max_resource": 4 if BRIEF else 9, "eta": 2 if BRIEF else 3},
    "asha": {"name": "asha", "max_resource": 9, "eta": 3, "trials": 9 if BRIEF else 18},
    "one_shot": {
        "name": "one_shot",
        "supernets": {"name": "full_training", "trials": 2, "max_resource": 4},
        "candidates": 12,
        "finalists": 3,
        "retrain": {"name": "full_training", "trials": None, "max_resource": 2},
    },
}
SPACES = {
    "one_shot": {"space": {"name": "nas_bench_201", "channels": 4, "cells": 1}, "method": "gaea"},
}
DEFAULT_SPACE = {
    "space": {"name": "mlp", "max_layers": 2, "max_units": 32},
    "recipe": {"learning_rate": {"float": [1e-3, 1e-1], "log": True}},
}


def experiment(
    folder: Path,
    scheduler: str,
    data: str,
    cluster: Cluster | None,
    environment: Mapping[str, str],
    storage: Mapping[str, str],
) -> Path:
    """The experiment file; without a cluster, of the undisturbed search in one process."""
    keys = {name: value for name, value in environment.items() if "KEY" in name}
    credentials = folder / "credentials"  # an experiment holds none
    credentials.write_text("\n".join(["[default]", *(f"{name.lower()} = {value}" for name, value in keys.items())]))
    plain = {name: value for name, value in environment.items() if name not in keys}
    conf = {
        **(cluster.conf if cluster else {}),
        "spark.executorEnv.PYTHONPATH": str(REPOSITORY),
        "spark.executorEnv.AWS_SHARED_CREDENTIALS_FILE": str(credentials),
        **{f"spark.executorEnv.{name}": value for name, value in plain.items()},
        "spark.ui.enabled": "false",
        "spark.task.maxFailures": "4",
    }
    engine = (
        {"name": ENGINES[scheduler], "checkpoint_seconds": 0.01, "spark": {"master": cluster.master, "conf": conf}}
        if cluster
        else {"name": "local"}
    )
    file = folder / f"{scheduler}-{'cluster' if cluster else 'alone'}.yaml"
    sections = {
        **SPACES.get(scheduler, DEFAULT_SPACE),
        "scheduler": SCHEDULERS[scheduler],
        "evaluator": {"name": "training", "optimizer": "adam"},
        "engine": engine,
        "data": {"path": data},
        "budget": {"attempts": 10},
        "storage": dict(storage),
        "seed": 5,
    }
    file.write_text(json.dumps(sections))  # JSON is YAML
    return file


def table(results: list[Result]) -> dict[JobKey, str]:
    """What must be the same wherever and however often it ran."""
    return {r.job.key: repr((r.job, r.status, r.loss, sorted(r.metrics.items()), r.curve)) for r in results}


def check(folder: str, trace: Path) -> list[Result]:
    """The laws that hold after any torment; returns the rows."""
    run = Run(folder)
    rows = list(run.log.rows())
    results = [result for result, _ in rows]
    assert len({result.job.key for result in results}) == len(rows), "a row came twice"
    assert {result.status for result in results} == {"completed"}
    assert "TWICE" not in {what for what, _ in traced(trace)}, "a committed job was trained again"
    by_key = {result.job.key: result for result in results}
    for key, committed in commits(run.files).items():
        assert table([committed]) == table([by_key[key]]), "a committed result was lost"
    flying, _ = driver.replay(assemble(run.experiment).scheduler(), rows)
    assert not flying, "the search ended with jobs in flight"
    return results


def commits(files: Files) -> Mapping[JobKey, Result]:
    """Every commit in the store."""
    found = {}
    for trial in files.folders("checkpoints"):
        for rung in files.folders(f"checkpoints/{trial}"):
            content = files.read(f"checkpoints/{trial}/{rung}/commit.json")
            if content is not None:
                found[JobKey(int(trial), int(rung))] = result_from_json(json.loads(content)["result"])
    assert found
    return found


def run_of(place: str, scheduler: str, number: int) -> int:
    """One number for each run of all."""
    return number * len(ALL) + ALL.index((place, scheduler))


def test_the_runs_together_kill_every_kind():
    killed = {kind for run in range(RUNS * len(ALL)) for kind in victims(SEED, run, KILLS)}
    assert set(KINDS) == killed


@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("scheduler", ON_DISK)
def test_on_a_disk(scheduler: str, number: int, cluster: Cluster, digits: Path, tmp_path: Path):
    torment(tmp_path, scheduler, run_of("disk", scheduler, number), cluster, str(digits), str(tmp_path / "runs"))


@pytest.mark.parametrize("number", range(RUNS))
@pytest.mark.parametrize("scheduler", ON_S3)
def test_on_s3_behind_a_network_that_fails(
    scheduler: str, number: int, cluster: Cluster, digits: Path, tmp_path: Path, s3: S3
):
    prefix = s3.prefix()
    for file in digits.rglob("*.*"):
        open_files(prefix).write(f"digits/{file.relative_to(digits)}", file.read_bytes())
    plan = Plan(0.1, seed=SEED * 1000 + number, delay=2.0)
    with faulty_proxy(s3.endpoint, plan) as url:
        storage = {"endpoint": url, "region": "us-east-1"}
        run = run_of("s3", scheduler, number)
        torment(tmp_path, scheduler, run, cluster, f"{prefix}/digits", f"{prefix}/runs", s3.environment, storage)
    assert plan.done.total() > 0


def torment(
    folder: Path,
    scheduler: str,
    run: int,
    cluster: Cluster,
    data: str,
    output: str,
    environment: Mapping[str, str] | None = None,
    storage: Mapping[str, str] | None = None,
) -> None:
    """One run that is killed again and again, and whether the laws held."""
    trace = folder / "trace"
    trace.mkdir()
    file = experiment(folder, scheduler, data, cluster, environment or {}, storage or {})
    kinds = victims(SEED, run, KILLS)
    monkey = Monkey(file, output, trace, environment or {}, pause=PAUSE)
    story = monkey.torment("run", SEED * 1000 + run, kinds=kinds)
    print(f"{scheduler} {run}: killed {dict(story.killed)}, exit codes {story.exits}, {story.seconds:.0f} s")
    results = check(f"{output}/run", trace)
    if ENGINES[scheduler] == "spark_rounds":
        assert table(results) == undisturbed(folder, scheduler, data)
    assert Counter(kinds) == story.killed


def undisturbed(folder: Path, scheduler: str, data: str) -> dict[JobKey, str]:
    """The table of the same search in one process that nobody touches."""
    parts = assemble(load_experiment(experiment(folder, scheduler, data, None, {}, {})))
    return table(search(parts, LocalFiles(folder / "undisturbed"), "undisturbed"))
