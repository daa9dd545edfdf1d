"""The checks on a session before anything runs in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.executors import _settle, slots_of, wait_for_executors
from spark_nas.engines.session import Session, _need_java, existing_session, open_session
from spark_nas.errors import ClusterError, OptionError


def test_task_gpus_with_a_local_master_are_refused_before_spark_starts():
    with pytest.raises(ClusterError, match=r"spark.task.resource.gpu.amount: '1'.*local\[2\]"):
        open_session("local[2]", conf={"spark.task.resource.gpu.amount": 1})


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.parametrize(
    ("master", "why"),
    [("bogus", "JAVA_GATEWAY_EXITED"), ("local[0]", "Asked to run locally with 0 threads")],
    ids=["no master", "no thread"],
)
def test_a_spark_that_does_not_start_is_one_line(master: str, why: str, tmp_path: Path):
    words = ["prepare-data", "digits", "--output", str(tmp_path / "digits"), "--master", master]
    command = [sys.executable, "-m", "spark_nas.cli", *words]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK_GATEWAY")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("spark-nas")]  # Java says more before
    assert (2, True) == (done.returncode, line.startswith("spark-nas prepare-data: master: "))
    assert f"'{master}': Spark did not start: " in line
    assert why in line
    assert line.endswith("; check the master and the conf")
    assert ".;" not in line
    assert "Traceback" not in done.stderr


def test_a_machine_without_java_is_told_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ClusterError, match="install Java 17"):
        _need_java()


def test_a_java_home_without_java_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ClusterError, match=f"JAVA_HOME: '{tmp_path}'"):
        _need_java()


@pytest.mark.parametrize(("counts", "wanted", "expected"), [([0, 1, 3, 9], 3, 3), ([0, 0, 1, 1], 4, 1), ([0], 1, 0)])
def test_waiting_ends_when_enough_have_come_or_time_is_up(counts: list[int], wanted: int, expected: int):
    left = iter(counts)
    last = counts[-1]
    assert _settle(lambda: next(left, last), wanted, wait_seconds=0.7) == expected


def test_a_negative_wait_is_refused():
    with pytest.raises(OptionError, match="wait_seconds"):
        Session(wait_seconds=-1)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.hadoop.fs.s3a.secret.key", "the-secret"),
        ("spark.hadoop.fs.s3a.access.key", "the-secret"),
        ("spark.authenticate.secret", "the-secret"),
        ("spark.executor.extraJavaOptions", "-Xss4m -Ddb.password=the-secret"),
    ],
)
def test_a_secret_in_an_experiment_is_refused_and_not_shown(key: str, value: str):
    with pytest.raises(OptionError, match=f"conf.{key}.*spark-submit") as caught:
        Session(conf={key: value})
    assert "the-secret" not in str(caught.value)


def test_where_a_secret_lies_is_none():
    Session(conf={"spark.ssl.keyPasswordFile": "/etc/key", "spark.hadoop.x": "a=b"})


@pytest.mark.spark
def test_a_session_that_is_there_is_taken_and_not_ours(spark: SparkSession):
    session, ours = Session().open()
    assert (session.sparkContext is spark.sparkContext, ours) == (True, False)
    assert existing_session() is not None


@pytest.mark.spark
def test_a_session_with_a_jvm_is_not_taken_for_one_of_spark_connect(spark: SparkSession):
    with pytest.raises(ClusterError, match=r"remote: 'sc://127\.0\.0\.1:1': this process has another Spark session"):
        Session(remote="sc://127.0.0.1:1").open()


@pytest.mark.spark
def test_a_given_session_is_checked_as_one_that_was_made_here(spark: SparkSession, monkeypatch: pytest.MonkeyPatch):
    # the settings of a running session cannot be changed: what it reads them from can
    conf = spark.sparkContext.getConf().set("spark.speculation", "true")
    monkeypatch.setattr(spark.sparkContext, "getConf", lambda: conf)
    with pytest.raises(ClusterError, match=r"spark\.speculation: 'true'"):
        wait_for_executors(spark, 1)
    with pytest.raises(ClusterError, match=r"spark\.speculation: 'true'"):
        slots_of(spark, None, 1)


@pytest.mark.spark
def test_a_local_session_listens_on_the_loopback_and_has_no_page(spark: SparkSession):
    names = ("spark.driver.host", "spark.driver.bindAddress", "spark.ui.enabled", "spark.scheduler.mode")
    conf = spark.sparkContext.getConf()
    assert [conf.get(name) for name in names] == ["127.0.0.1", "127.0.0.1", "false", "FAIR"]
