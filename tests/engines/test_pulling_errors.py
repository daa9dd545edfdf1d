"""What ends a search, between results: those that came with it are told first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.channel.records import Arrival
from spark_nas.engines.pulling import PullingEngine
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.worker import Assignment
from spark_nas.errors import ClusterError, OutputError
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import result_to_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import Probe, job

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.slow]
REMEDY = ClusterError("executors cannot run spark_nas")


class Strict(CommittedJobs):
    """A store that will not be asked for one job."""

    def committed(self, key: JobKey) -> Result | None:
        if key.trial_id == 1:
            raise OutputError("the output location holds another experiment's run")
        return super().committed(key)


@pytest.fixture
def engine(spark: SparkSession, tmp_path: Path) -> Iterator[PullingEngine]:
    """An engine at four jobs that do not end; the test says what arrives."""
    engine = SparkAsync(channel="on").build(Probe(), Strict(LocalFiles(tmp_path)), spark)
    assert isinstance(engine, PullingEngine)
    engine.submit([job(trial, what="forever") for trial in range(4)])
    yield engine
    engine.close()


def done(trial: int) -> Arrival:
    return Arrival(assigned(trial), result_to_json(Result(assigned(trial).job, "completed", 0.5)))


def lost(trial: int) -> Arrival:
    return Arrival(assigned(trial), None, "its session ended")


def assigned(trial: int) -> Assignment:
    return Assignment(job(trial, what="forever"), 1)


def keys(results: list[Result]) -> list[tuple[int, str]]:
    return [(result.job.trial.trial_id, result.status) for result in results]


def test_results_on_both_sides_of_an_error_come_before_it(engine: PullingEngine):
    for arrival in (done(0), lost(2), REMEDY, done(1), ClusterError("a later one")):
        engine._arrivals.put(arrival)
    assert keys(engine.wait()) == [(0, "completed"), (2, "lost"), (1, "completed")]
    for _ in range(2):
        with pytest.raises(ClusterError, match="executors cannot run"):
            engine.wait()


def test_a_job_lost_with_what_ended_the_search_is_not_counted_as_an_attempt(engine: PullingEngine):
    for arrival in (REMEDY, lost(2), done(0)):
        engine._arrivals.put(arrival)
    assert keys(engine.wait()) == [(0, "completed")]
    with pytest.raises(ClusterError, match="executors cannot run"):
        engine.wait()


def test_an_error_alone_is_raised_at_once(engine: PullingEngine):
    engine._arrivals.put(REMEDY)
    with pytest.raises(ClusterError, match="executors cannot run"):
        engine.wait()


def test_a_store_that_cannot_be_used_ends_the_search_after_the_results_that_came_before(engine: PullingEngine):
    for arrival in (done(0), lost(1), done(2)):
        engine._arrivals.put(arrival)
    assert keys(engine.wait()) == [(0, "completed"), (2, "completed")]
    with pytest.raises(OutputError, match="another experiment's run"):
        engine.wait()
