"""What the error that ends a session's Spark job tells the dispatcher."""

from __future__ import annotations

import pytest
from py4j.protocol import Py4JNetworkError
from pyspark.errors import AnalysisException, PySparkException, PythonException

from spark_nas.engines.sessions import ending_of
from spark_nas.errors import ClusterError, ClusterLost

JOB = "org.apache.spark.SparkException: [SPARK_JOB_CANCELLED] Job 3 cancelled"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(111, "Connection refused"),
        Py4JNetworkError("Answer from Java side is empty"),
        PySparkException(f"{JOB} because SparkContext was shut down"),
        PySparkException("java.lang.IllegalStateException: Cannot call methods on a stopped SparkContext."),
    ],
)
def test_a_spark_that_is_gone_is_told_as_lost(error: Exception):
    ending = ending_of(7, error)
    assert (7, ClusterLost) == (ending.number, type(ending.remedy))
    assert str(ending.remedy).startswith("Spark is gone: ")


def test_a_worker_that_died_with_its_spark_is_told_as_a_spark_that_is_gone():
    ending = ending_of(7, PythonException("Python worker exited unexpectedly (crashed)"), stopped=True)
    assert ClusterLost is type(ending.remedy)


@pytest.mark.parametrize(
    ("error", "remedy", "hopeless"),
    [
        (PySparkException(f"{JOB} part of cancelled job group spark-nas-1"), "executors cannot run spark_nas: ", False),
        (PythonException("Python worker exited unexpectedly (crashed)"), "executors cannot run spark_nas: ", False),
        (PythonException("Traceback:\nKeyError: 'x'\n\nJVM stacktrace:\nat x.y"), "spark_nas: KeyError: 'x': ", True),
        (PythonException("x.ChannelError: h:1: no route"), "executors cannot reach the driver: x.Channel", True),
        (AnalysisException("no"), "Spark refuses to run spark_nas: no", False),
        (TypeError("x"), "Spark jobs cannot be submitted: TypeError: x", False),
    ],
)
def test_any_other_error_carries_the_remedy_for_the_case_that_no_session_works(
    error: Exception, remedy: str, hopeless: bool
):
    ending = ending_of(7, error)
    assert (ClusterError, hopeless) == (type(ending.remedy), ending.hopeless)
    assert remedy in str(ending.remedy)
    assert type(error).__name__ in ending.reason
