"""When a job is committed by its row alone, and what is done so that nothing is lost by it (docs/decisions/0016)."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.simulated import MemoryStore
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.task import run_job
from spark_nas.engines.worker import NOT_STARTED, Assignment, FixedBatches, keep_result
from spark_nas.errors import OptionError
from spark_nas.search.protocols import Engine, Workspace
from spark_nas.search.records import Job, Outcome, Result
from spark_nas.search.wire import result_from_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import job

cloudpickle.register_pickle_by_value(sys.modules[__name__])
SPARING = Limits(checkpoint_seconds=0, commit_seconds=60)


@dataclass(frozen=True)
class Does:
    """Does what the job's architecture says, and leaves no checkpoint but where it says so."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import os
        import signal
        import time

        what = job.trial.architecture["do"]
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "slow":
            time.sleep(0.5)
        if what == "save":
            workspace.save(b"checkpoint")
        if what == "keep":
            workspace.keep(lambda: b"kept")
        if what == "recover":
            workspace.recover()
        return Outcome(0.5)


def committed(what: str, limits: Limits, **options: int) -> bool:
    """Whether a job that went well stands in the store afterwards."""
    store = MemoryStore()
    if what == "recover":
        store.keep(job(0).key, b"of an attempt before")
    result = run_job(job(0, what=what), Does(), store, limits, place=Place(1), **options)
    assert result.status == "completed"
    return store.committed(job(0).key) is not None


def test_a_short_job_without_a_checkpoint_is_left_to_its_row():
    assert not committed("sum", SPARING)


@pytest.mark.parametrize(
    ("what", "limits", "options"),
    [
        ("sum", Limits(), {}),
        ("slow", Limits(commit_seconds=0.4), {}),
        ("save", SPARING, {}),
        ("keep", SPARING, {}),
        ("recover", SPARING, {}),
        ("sum", SPARING, {"attempt": 2}),
        ("sum", SPARING, {"careful": True}),
    ],
)
def test_any_other_job_is_committed(what: str, limits: Limits, options: dict[str, int]):
    assert committed(what, limits, **options)


def test_a_job_that_finds_itself_committed_is_not_run_however_short():
    store = MemoryStore()
    first = run_job(job(0), Does(), store, Limits(), place=Place(1))
    assert run_job(job(0, what="sum"), Does(), store, SPARING, place=Place(1)) is first


@pytest.mark.parametrize("make", [lambda: Limits(commit_seconds=-1), lambda: SparkAsync(commit_seconds=-1)])
def test_a_negative_time_is_refused(make: Callable[[], object]):
    with pytest.raises(OptionError, match="commit_seconds"):
        make()


def test_a_result_that_nobody_took_is_committed(tmp_path: Path):
    store, result = CommittedJobs(LocalFiles(tmp_path)), Result(job(0), "completed", 0.5)
    keep_result(store, result)
    assert store.committed(job(0).key) == result


@pytest.mark.parametrize("result", [Result(job(0), "failed", error="why"), Result(job(0), "lost", error="why")])
def test_what_nobody_took_is_not_committed_where_another_attempt_may_do_better(result: Result):
    store = MemoryStore()
    keep_result(store, result)
    keep_result(None, result)
    assert store.committed(job(0).key) is None


def test_a_result_that_nobody_took_and_no_store_takes_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").touch()
    keep_result(CommittedJobs(LocalFiles(tmp_path / "file")), Result(job(3), "completed", 0.5))
    assert "the result of job (3, 0) is lost" in caplog.text


def test_a_batch_begins_no_job_after_its_seconds_but_its_first():
    board = [[Assignment(job(number), 1) for number in range(3)]]

    def done(seconds: float | None) -> list[int | None]:
        feed = FixedBatches.pack(board, seconds=seconds)
        rows = feed.run(0, lambda job, attempt: Result(job, "completed", 0.5), lambda result: None)
        return [None if row == NOT_STARTED else result_from_json(row).job.trial.trial_id for row in rows]

    assert (done(-1.0), done(None), done(60.0)) == ([0, None, None], [0, 1, 2], [0, 1, 2])


def drain(engine: Engine, jobs: list[Job]) -> dict[int, str]:
    engine.submit(jobs)
    statuses: dict[int, str] = {}
    while len(statuses) < len(jobs):
        statuses |= {result.job.trial.trial_id: result.status for result in engine.wait()}
    return statuses


@pytest.mark.spark
@pytest.mark.parametrize("channel", ["on", "off"])
def test_of_short_jobs_without_commits_only_the_one_that_kills_its_session_is_lost(
    spark: SparkSession, tmp_path: Path, channel: Literal["on", "off"]
):
    store = CommittedJobs(LocalFiles(tmp_path))
    engine = SparkAsync(slots=1, channel=channel).build(Does(), store, spark)
    assert drain(engine, [job(0)]) == {0: "completed"}  # now they are known to be short
    found = drain(engine, [job(1), job(2), job(3, what="die"), job(4)])
    engine.close()
    assert found == {1: "completed", 2: "completed", 3: "lost", 4: "completed"}
    assert store.committed(job(0).key) is None


@pytest.mark.spark
def test_jobs_that_a_batch_had_no_time_for_come_with_the_next(spark: SparkSession, tmp_path: Path):
    store = CommittedJobs(LocalFiles(tmp_path))
    engine = SparkAsync(slots=1, channel="off", batch_seconds=0.2).build(Does(), store, spark)
    assert drain(engine, [job(0)]) == {0: "completed"}
    engine.submit([job(1, what="slow"), job(2), job(3)])
    landings = [[r.job.trial.trial_id for r in engine.wait()] for _ in range(2)]
    assert landings == [[1], [2]]  # the mean of the two that have come back is more than a batch's time
    assert [r.job.trial.trial_id for r in engine.wait()] == [3]
    engine.close()
