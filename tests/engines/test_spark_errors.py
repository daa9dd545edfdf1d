"""What errors of Spark are taken for, in the words that Spark 3.5 and 4.3 really use."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pyspark
import pytest
from py4j.java_gateway import GatewayParameters, JavaGateway, JavaObject
from py4j.protocol import ERROR, Py4JError, Py4JJavaError, Py4JNetworkError, get_return_value
from pyspark.errors import AnalysisException, PySparkException, PythonException
from pyspark.errors.exceptions.connect import SparkConnectGrpcException

from spark_nas.engines.spark_errors import (
    has_stopped,
    is_gone,
    is_python_error,
    is_refused,
    is_sparks,
    reason,
    trouble,
)
from spark_nas.errors import ClusterError, ClusterLost

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

DEATH = "Job aborted due to stage failure: Task 1 in stage 4.0 failed 4 times, most recent failure: Lost task 1.3 in"
CRASH = f"{DEATH} stage 4.0: org.apache.spark.SparkException: Python worker exited unexpectedly (crashed)"
PYTHON = """
  An exception was thrown from the Python worker. Please see the stack trace below.
[PYTHON_EXCEPTION] An exception was thrown from the Python worker: Traceback (most recent call last):
  File "x.py", line 22, in boom
ModuleNotFoundError: No module named 'spark_nas'
 SQLSTATE: 38000

JVM stacktrace:
org.apache.spark.api.python.PythonException
\tat org.apache.spark.sql.connect.execution.ExecuteThreadRunner.execute(ExecuteThreadRunner.scala:175)
"""


def cut_short() -> Py4JError:
    """What py4j raises when the connection breaks under a call."""
    with pytest.raises(Py4JError) as caught:
        get_return_value(ERROR, None, "o58", "collectToPython")
    return caught.value


def left_over() -> JavaObject:
    """An object of a JVM that has ended since."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    return JavaObject("o59", JavaGateway(gateway_parameters=GatewayParameters(port=port))._gateway_client)


def speechless() -> Py4JJavaError:
    """An error of such a JVM, and with it what it would say."""
    return Py4JJavaError("An error occurred while calling o58.collectToPython.\n", left_over())


def masked() -> AttributeError:
    """What pyspark raises after a call that failed because its context was stopped meanwhile."""
    try:
        try:
            raise PySparkException("Job 0 cancelled because SparkContext was shut down")
        finally:
            None.setCallSite(None)  # type: ignore[attr-defined]
    except AttributeError as error:
        return error


def coded(name: str, words: str = "") -> SparkConnectGrpcException:
    """An exception of Spark Connect with a gRPC status; 3.5, under which these tests are only collected, has none."""
    status = {} if pyspark.__version__.startswith("3.") else {"grpc_status_code": grpc.StatusCode[name]}
    return SparkConnectGrpcException(words, **status)


@pytest.mark.parametrize(
    "error",
    [
        coded("UNAVAILABLE"),
        coded("DEADLINE_EXCEEDED"),
        coded("INTERNAL", "[INVALID_HANDLE.SESSION_CHANGED] The existing Spark server driver instance has restarted."),
        Py4JNetworkError("Answer from Java side is empty"),
        cut_short(),
        speechless(),
        masked(),
        ConnectionRefusedError(111, "Connection refused"),
    ],
)
def test_a_spark_that_is_gone_ends_the_search_to_be_run_again(error: Exception):
    assert is_gone(error)
    assert isinstance(trouble(error), ClusterLost)


@pytest.mark.spark
def test_a_context_that_runs_has_not_stopped(spark: SparkSession):
    assert not has_stopped(spark.sparkContext)
    assert not has_stopped(None)


@pytest.mark.parametrize("java", [None, left_over()], ids=["stopped here", "its JVM is gone"])
def test_a_context_whose_jvm_does_not_answer_for_it_has_stopped(java: JavaObject | None):
    context: Any = SimpleNamespace(_jsc=java)
    assert has_stopped(context)
    assert isinstance(trouble(coded("INTERNAL", CRASH), stopped=True), ClusterLost)


@pytest.mark.parametrize(
    "error",
    [
        coded("INTERNAL", CRASH),
        coded("INTERNAL", "[OPERATION_CANCELED] SQLSTATE: HY008"),
        Py4JError(
            "An error occurred while calling o58.range. Trace:\npy4j.Py4JException: Method range([]) does not exist"
        ),
    ],
)
def test_a_failed_spark_job_is_nothing_worse(error: Exception):
    assert is_sparks(error)
    assert not is_gone(error)
    assert not is_refused(error)
    assert not is_python_error(error)


def test_an_exception_in_python_is_told_from_a_worker_that_died():
    assert is_python_error(PythonException(PYTHON))
    assert not is_python_error(PythonException(CRASH))


@pytest.mark.parametrize(
    "error", [AnalysisException("no"), coded("PERMISSION_DENIED", "no"), coded("UNIMPLEMENTED", "no")]
)
def test_what_spark_will_not_have_is_refused_in_its_words(error: Exception):
    assert is_refused(error)
    assert str(trouble(error)) == "Spark refuses to run spark_nas: no"
    assert isinstance(trouble(error), ClusterError)


def test_the_reason_is_the_line_that_a_person_wants():
    assert reason(PythonException(PYTHON)) == "ModuleNotFoundError: No module named 'spark_nas'"
    grpc = '<_MultiThreadedRendezvous of RPC that terminated with:\n\tstatus = StatusCode.UNAVAILABLE\n\tdetails = "x: '
    assert reason(coded("UNAVAILABLE", grpc + 'refused"\n\tdebug_error_string = "UNKNOWN"\n>')) == "x: refused"
    assert reason(ValueError()) == "ValueError"


def test_a_fault_of_the_driver_itself_is_no_fault_of_spark():
    assert not is_sparks(TypeError("x"))
    assert str(trouble(TypeError("x"))) == "Spark jobs cannot be submitted: TypeError: x"
