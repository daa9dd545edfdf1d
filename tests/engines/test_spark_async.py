"""Worker sessions on a real local Spark."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.spark_async import SparkAsync
from spark_nas.errors import ClusterError, OptionError
from spark_nas.search.records import Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import Probe, job

pytestmark = pytest.mark.spark


CHANNELS = pytest.mark.parametrize("channel", ["on", "off"])


@CHANNELS
def test_a_long_job_does_not_hold_up_the_other_slot(spark: SparkSession, tmp_path: Path, channel: Literal["on", "off"]):
    engine = SparkAsync(slots=2, batch_seconds=0, channel=channel).build(Probe(), None, spark)
    engine.submit([job(0, what=f"wait for {tmp_path}/go"), job(1), job(2)])
    order: list[int] = []
    while len(order) < 3:
        order += [r.job.trial.trial_id for r in engine.wait()]
        if len(order) == 2:
            (tmp_path / "go").touch()
    engine.close()
    assert order == [1, 2, 0]


@CHANNELS
def test_slots_grow_while_jobs_are_short_and_workers_stay_warm(spark: SparkSession, channel: Literal["on", "off"]):
    engine = SparkAsync(slots=2, channel=channel).build(Probe(), None, spark)
    done: list[Result] = []
    asked, most = 0, 0
    while len(done) < 100:
        count = min(engine.slots - (asked - len(done)), 100 - asked)
        engine.submit([job(i) for i in range(asked, asked + count)])
        asked += count
        done += engine.wait()
        most = max(most, engine.slots)
    engine.close()
    assert sorted(r.job.trial.trial_id for r in done) == list(range(100))
    assert most > 2
    assert len({r.executor for r in done}) <= 2


@CHANNELS
def test_a_job_that_kills_its_session_is_lost_and_the_slot_goes_on(
    spark: SparkSession, tmp_path: Path, channel: Literal["on", "off"]
):
    engine = SparkAsync(slots=1, channel=channel).build(Probe(), CommittedJobs(LocalFiles(tmp_path)), spark)
    engine.submit([job(0), job(1, what="die"), job(2)])
    statuses: dict[int, str] = {}
    while len(statuses) < 3:
        statuses |= {r.job.trial.trial_id: r.status for r in engine.wait()}
    engine.close()
    assert statuses == {0: "completed", 1: "lost", 2: "completed"}


@CHANNELS
def test_close_cancels_what_flies(spark: SparkSession, channel: Literal["on", "off"]):
    engine = SparkAsync(slots=1, channel=channel).build(Probe(), None, spark)
    engine.submit([job(0, what="forever")])
    tracker = spark.sparkContext.statusTracker()
    # Without the channel a session is warmed first, and `wait` starts the next one: in between none is active.
    deadline, active = time.monotonic() + 120, []
    while not active and time.monotonic() < deadline:
        engine.wait(timeout=0.05)
        active = tracker.getActiveJobsIds()
    assert active
    engine.close()
    assert not tracker.getActiveJobsIds()


def test_more_slots_than_the_cluster_has_are_refused_with_both_numbers(spark: SparkSession):
    with pytest.raises(ClusterError, match=r"slots: 5: the cluster runs 2 tasks"):
        SparkAsync(slots=5).build(Probe(), None, spark)


def test_the_slots_are_those_of_the_cluster_when_not_said(spark: SparkSession):
    engine = SparkAsync().build(Probe(), None, spark)
    engine.close()
    assert engine.slots == 2


@pytest.mark.parametrize(
    "options",
    [
        {"slots": 0},
        {"batch_seconds": -1.0},
        {"max_batch": 0},
        {"channel": "of"},
        {"channel_port": -1},
        {"channel_port": 65536},
        {"idle_seconds": 0.0},
        {"lease_seconds": -1.0},
        {"silence_seconds": 0.0},
    ],
)
def test_unusable_options_name_their_key(options: dict[str, Any]):
    with pytest.raises(OptionError, match=next(iter(options))):
        SparkAsync(**options)


@pytest.mark.parametrize(("said", "meant"), [(True, "on"), (False, "off"), ("auto", "auto")])
def test_a_bare_on_or_off_in_yaml_is_understood(said: bool, meant: str):
    assert SparkAsync(channel=said).channel == meant
