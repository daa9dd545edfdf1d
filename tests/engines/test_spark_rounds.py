"""Rounds on a real local Spark."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.engines.worker import Assignment, FixedBatches
from spark_nas.errors import ClusterError, OptionError
from spark_nas.search.records import Job, Result
from spark_nas.search.wire import result_from_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import Probe, job

pytestmark = pytest.mark.spark


class Unloadable(Probe):
    """Needs a module that no executor has."""

    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, ("no_such_module",)


def test_a_round_is_one_stage_with_one_task_a_job(spark: SparkSession):
    engine = SparkRounds().build(Probe(), None, spark)
    engine.submit([job(i) for i in range(7)])
    results = engine.wait()
    tracker = spark.sparkContext.statusTracker()
    spark_jobs = tracker.getJobIdsForGroup(engine._launcher._group)
    stages = [tracker.getStageInfo(s) for j in spark_jobs for s in tracker.getJobInfo(j).stageIds]
    engine.close()
    assert [stage.numTasks for stage in stages] == [7]
    assert [r.job for r in results] == [job(i) for i in range(7)]


def test_the_same_warm_workers_serve_round_after_round(spark: SparkSession):
    engine = SparkRounds().build(Probe("warm"), None, spark)
    results = []
    for start in (0, 6):
        engine.submit([job(i) for i in range(start, start + 6)])
        results += engine.wait()
    engine.close()
    assert len({r.executor for r in results}) <= 2  # as many as slots
    # the evaluator is unpickled once a worker: its own counter goes on over tasks and stages
    assert sum(r.metrics["nth"] == 1 for r in results) == len({r.executor for r in results})


def test_a_job_that_kills_its_worker_is_lost_and_takes_nobody_with_it(spark: SparkSession, tmp_path: Path):
    engine = SparkRounds().build(Probe(), CommittedJobs(LocalFiles(tmp_path)), spark)
    engine.submit([job(0), job(1, what="die"), job(2), job(3)])
    results = engine.wait()
    engine.close()
    assert [r.status for r in results] == ["completed", "lost", "completed", "completed"]
    assert "Spark gave its task up" in str(results[1].error)


def test_executors_that_cannot_run_the_evaluator_stop_the_search_with_the_reason(spark: SparkSession):
    engine = SparkRounds().build(Unloadable(), None, spark)
    engine.submit([job(0)])
    with pytest.raises(ClusterError, match=r"executors cannot run spark_nas: .*no_such_module"):
        engine.wait()
    engine.close()


def test_a_long_round_runs_as_several_stages(spark: SparkSession):
    engine = SparkRounds(max_jobs=2).build(Probe(), None, spark)
    engine.submit([job(i) for i in range(3)])
    results = [engine.wait(), engine.wait()]
    engine.close()
    assert [[r.job.trial.trial_id for r in part] for part in results] == [[0, 1], [2]]


def test_ten_thousand_jobs_make_a_small_closure():
    board = [[Assignment(job(i), 1)] for i in range(10_000)]
    feed = FixedBatches.pack(board)
    assert len(feed.packed) < 1_000_000
    ran: list[Assignment] = []

    def work(job: Job, attempt: int) -> Result:
        ran.append(Assignment(job, attempt))
        return Result(job, "completed", loss=0.0)

    assert [result_from_json(text).job for text in feed.run(9_999, work, print)] == [job(9_999)]
    assert ran == board[9_999]


def test_no_jobs_at_a_time_is_refused():
    with pytest.raises(OptionError, match="max_jobs"):
        SparkRounds(max_jobs=0)
