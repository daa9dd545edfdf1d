"""The laws of every engine: exactly once, never raising, and the table of the local engine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.local import Local
from spark_nas.engines.simulated import Simulated
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.search.protocols import Engine, Evaluator, JobStore
from spark_nas.search.records import Job, Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import Probe, job

Build = Callable[[Evaluator, JobStore], Engine]

ENGINES = ["local", "simulated", "spark_rounds", "spark_async", "spark_async_off"]


def local(evaluator: Evaluator, store: JobStore) -> Engine:
    return Local(slots=2).build(evaluator, store)


def simulated(evaluator: Evaluator, store: JobStore) -> Engine:
    return Simulated(workers=2).build(evaluator, store)


@pytest.fixture(params=[pytest.param(n, marks=[pytest.mark.spark] if "spark" in n else []) for n in ENGINES])
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    built: list[Engine] = []
    makers: dict[str, Build] = {"local": local, "simulated": simulated}
    if request.param not in makers:
        spark: SparkSession = request.getfixturevalue("spark")
        makers["spark_rounds"] = lambda e, s: SparkRounds().build(e, s, spark)
        makers["spark_async"] = lambda e, s: SparkAsync(slots=2, channel="on").build(e, s, spark)
        makers["spark_async_off"] = lambda e, s: SparkAsync(slots=2, channel="off").build(e, s, spark)

    def make(evaluator: Evaluator, store: JobStore) -> Engine:
        built.append(makers[request.param](evaluator, store))
        return built[-1]

    yield make
    for engine in built:
        engine.close()


@pytest.fixture
def store(tmp_path: Path) -> CommittedJobs:
    return CommittedJobs(LocalFiles(tmp_path))


def drain(engine: Engine, jobs: list[Job]) -> list[Result]:
    engine.submit(jobs)
    results: list[Result] = []
    while len(results) < len(jobs):
        new = engine.wait()
        assert new
        results += new
    return results


def table(results: list[Result]) -> list[tuple[object, ...]]:
    """Without times, executors, and what depends on the machine."""
    rows = [(r.job, r.status, repr(r.loss), r.metrics.get("trained"), str(r.error).split("\n")[0]) for r in results]
    return sorted(rows, key=lambda row: row[0].key)


def test_every_job_comes_back_once_with_the_local_table(build: Build, store: CommittedJobs, tmp_path: Path):
    rounds = [
        [*map(job, range(6)), job(6, what="raise"), job(7, what="memory")],
        [job(i, 1) for i in range(3)],
        [job(0, 2)],
    ]
    engine, reference = build(Probe(), store), local(Probe(), CommittedJobs(LocalFiles(tmp_path / "reference")))
    results = [r for jobs in rounds for r in drain(engine, jobs)]
    expected = [r for jobs in rounds for r in drain(reference, jobs)]
    assert table(results) == table(expected)


def test_a_failing_job_never_raises(build: Build, store: CommittedJobs):
    [result] = drain(build(Probe(), store), [job(1, what="raise")])
    assert (result.status, str(result.error).split("\n")[0]) == ("failed", "ValueError: no such thing")
    assert math.isnan(result.loss)


def test_a_committed_job_is_not_trained_again(build: Build, store: CommittedJobs):
    [first] = drain(build(Probe(), store), [job(1)])
    assert drain(build(Probe(), store), [job(1)]) == [first]  # with its time of starting


def test_close_is_idempotent(build: Build, store: CommittedJobs):
    engine = build(Probe(), store)
    engine.close()
    engine.close()
    assert engine.slots >= 1
