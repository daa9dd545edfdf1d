"""A supernet by two processes on a real local Spark, and what is refused before any is started."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.sql import SparkSession

from spark_nas import driver
from spark_nas.assemble import assemble, parse_experiment
from spark_nas.engines.profiles import TaskProfile
from spark_nas.engines.session import Session
from spark_nas.engines.spark_distributed import SparkDistributed, check_barrier, is_supernet
from spark_nas.errors import ClusterError, ConfigError, OptionError
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.driver_support import MemoryLog
from tests.engines.probes import Probe
from tests.engines.together import Mortal, Together, supernet, waiting

pytestmark = pytest.mark.spark


def experiment(data: Path) -> dict[str, object]:
    return {
        "space": {"name": "nas_bench_201", "channels": 2, "cells": 1},
        "scheduler": {
            "name": "one_shot",
            "supernets": {"name": "full_training", "trials": 1, "max_resource": 1},
            "candidates": 3,
            "finalists": 1,
        },
        "method": "random_sharing",
        "evaluator": {"name": "training", "batch_size": 256},
        "engine": {"name": "spark_distributed", "processes": 2},
        "data": {"path": str(data)},
        "budget": {"jobs": 100, "attempts": 2},
    }


@pytest.mark.slow
@pytest.mark.one_spark
def test_a_search_whose_process_was_killed_trains_the_supernet_again_and_commits_it_once(
    spark: SparkSession, digits: Path, tmp_path: Path
) -> None:
    parts = assemble(parse_experiment(experiment(digits)))
    store, log = CommittedJobs(LocalFiles(tmp_path / "jobs")), MemoryLog()
    engine = parts.experiment.engine.build(Mortal(parts.evaluator, str(tmp_path / "killed")), store, spark)
    try:
        driver.run(parts.scheduler(), engine, log, budget=parts.experiment.budget)
    finally:
        engine.close()
    trained, *scored = log.results
    assert (tmp_path / "killed").exists()
    assert [result.status for result in log.results] == ["completed"] * 5, [r.error for r in log.results]
    assert (is_supernet(trained.job), trained.attempt) == (True, 2)
    assert store.committed(trained.job.key) == trained
    assert {result.job.start_from for result in scored} == {trained.job.key}
    assert len({result.loss for result in scored}) > 1


@pytest.mark.slow
@pytest.mark.skipif(
    pyspark.__version__ < "4", reason="Spark 3.5 was seen to hang with a job beside a waiting barrier stage"
)
def test_other_jobs_run_in_rounds_and_closing_ends_the_processes_of_a_supernet(
    spark: SparkSession, tmp_path: Path
) -> None:
    started, go = tmp_path / "started", tmp_path / "go"
    started.mkdir()
    engine = SparkDistributed().build(Together("forever", str(started)), None, spark)
    engine.submit([waiting(1, go)])
    engine.submit([supernet()])  # which needs both slots
    assert engine.wait(timeout=0.01) == []
    go.touch()
    assert [result.status for result in engine.wait()] == ["completed"]
    assert engine.wait(timeout=0.01) == []
    _until(lambda: len(list(started.iterdir())) == 2)
    running = [int(file.read_text()) for file in started.iterdir()]
    engine.close()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in running))
    with pytest.raises(ValueError, match="nothing is in flight"):
        engine.wait()


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_too_few_slots_are_refused_before_anything_waits_for_them(spark: SparkSession) -> None:
    with pytest.raises(ClusterError, match=r"^processes: 3: a supernet needs as many slots at once: .* 2 tasks"):
        SparkDistributed(processes=3, spark=Session(wait_seconds=0.0)).build(Together(), None, spark)


def test_an_evaluator_of_one_process_is_refused(spark: SparkSession) -> None:
    with pytest.raises(OptionError, match="Probe evaluates in one process only"):
        SparkDistributed().build(Probe(), None, spark)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spark.dynamicAllocation.enabled": "true"}, "dynamicAllocation.enabled: 'true': start Spark with it"),
        ({"spark.ssl.enabled": "true"}, "spark.ssl.enabled: 'true': gradients travel"),
        ({"spark.task.resource.gpu.amount": "0.5"}, "gpu.amount: 0.5: set it to 1"),
    ],
)
def test_what_would_never_start_together_is_refused(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], message: str
) -> None:
    conf = spark.sparkContext.getConf().setAll(list(settings.items()))
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: conf)
    with pytest.raises(ClusterError, match=re.escape(message)):
        check_barrier(spark, 2, 0.0)


def test_a_session_of_spark_connect_is_refused() -> None:
    session: Any = type("SparkSession", (), {"__module__": "pyspark.sql.connect.session"})()
    with pytest.raises(ClusterError, match="needs a session with a SparkContext"):
        check_barrier(session, 2, 0.0)


def test_encryption_may_be_given_up_for_gradients(spark: SparkSession, monkeypatch: pytest.MonkeyPatch) -> None:
    conf = spark.sparkContext.getConf()
    conf.setAll([("spark.ssl.enabled", "true"), ("pytorch.spark.distributor.ignoreSsl", "true")])
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: conf)
    check_barrier(spark, 2, 0.0)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"processes": 0}, "processes"),
        ({"spark": Session(remote="sc://host:1")}, "remote"),
        ({"spark": Session(profile=TaskProfile(cpus=2))}, "profile"),
        ({"max_jobs": 0}, "max_jobs"),
    ],
)
def test_unusable_options_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(OptionError) as caught:
        SparkDistributed(**options)
    assert caught.value.key == key


def test_a_scheduler_that_decides_after_each_result_is_refused_by_the_engines_name(digits: Path) -> None:
    raw = experiment(digits)
    raw["scheduler"] = {
        "name": "one_shot",
        "supernets": {"name": "asha", "max_resource": 4, "eta": 2, "trials": 4},
        "candidates": 3,
    }
    with pytest.raises(ConfigError, match="'spark_distributed'"):
        parse_experiment(raw)
