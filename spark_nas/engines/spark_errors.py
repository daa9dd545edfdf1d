"""What an error of Spark says: who is at fault, and the one line of it that a person wants to read.

Errors are told apart by the names of their classes and by their words: a session with a JVM and one of Spark Connect
raise different classes for the same thing, and 3.5 and 4.3 different ones again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from spark_nas.errors import ClusterError, ClusterLost, SparkNasError

if TYPE_CHECKING:
    from pyspark import SparkContext

FAILED_TASK = re.compile(r"Task (\d+) in stage \S+ failed")
FAILED_TOGETHER = re.compile(r"barrier task \S+, \d+\) finished unsuccessfully")
"""A stage of tasks that run together ends with any of them."""

_GONE_WORDS = (
    "SparkContext was shut down",
    "SparkContext has been shutdown",
    "stopped SparkContext",
    "INVALID_HANDLE.SESSION_",  # a Connect server that has restarted knows nothing of its sessions
    "INVALID_HANDLE.OPERATION_",
    "Master removed our application",
    "All masters are unresponsive",
)
_GONE_CLASSES = ("Py4JNetworkError", "RetriesExceeded")
_CUT_SHORT = re.compile(r"An error occurred while calling \S+")
"""All of py4j's message, when its JVM ended instead of answering."""
_GONE_CODES = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
_REFUSED_CLASSES = ("AnalysisException", "ParseException", "UnsupportedOperationException")
_REFUSED_CODES = ("PERMISSION_DENIED", "UNAUTHENTICATED", "UNIMPLEMENTED")


def is_sparks(error: BaseException) -> bool:
    """Whether Spark failed; anything else is a fault on the driver that no second try will mend."""
    return type(error).__module__.split(".")[0] in ("pyspark", "py4j", "grpc")


def is_gone(error: BaseException) -> bool:
    """Whether Spark itself is gone (its JVM, its application, its Connect server), and with it every job."""
    if isinstance(error, ConnectionError):  # py4j, when its JVM has ended
        return True
    if not is_sparks(error):
        # In a context that was stopped, pyspark's tidying up after a failed call fails in turn.
        return error.__context__ is not None and is_gone(error.__context__)
    if type(error).__name__ in _GONE_CLASSES or _code(error) in _GONE_CODES:
        return True
    text = _text(error)
    if text is None or (type(error).__name__ == "Py4JError" and _CUT_SHORT.fullmatch(text)):
        return True
    return any(word in text for word in _GONE_WORDS)


def has_stopped(context: SparkContext | None) -> bool:
    """Whether a context was stopped, or is just being: its workers die then, and the error may tell of them alone.

    `None`, for Spark Connect, is not known to be.
    """
    if context is None:
        return False
    try:
        java = context._jsc
        return java is None or bool(java.sc().isStopped())
    except Exception:  # nobody is there to answer
        return True


def is_refused(error: BaseException) -> bool:
    """Whether Spark will have none of our jobs, whatever is in them."""
    return is_sparks(error) and (type(error).__name__ in _REFUSED_CLASSES or _code(error) in _REFUSED_CODES)


def is_python_error(error: BaseException) -> bool:
    """Whether Python code of ours raised on an executor: never a job's doing, as `run_job` never raises."""
    return type(error).__name__ == "PythonException" and "exited unexpectedly" not in str(error)


def trouble(error: BaseException, *, stopped: bool = False) -> SparkNasError:
    """What ends a search whose Spark jobs cannot run, with the remedy; `stopped`: the context was, whatever is said."""
    if stopped or is_gone(error):
        return ClusterLost(f"Spark is gone: {reason(error)}")
    if not is_sparks(error):
        return ClusterError(f"Spark jobs cannot be submitted: {type(error).__name__}: {reason(error)}")
    if is_refused(error):
        return ClusterError(f"Spark refuses to run spark_nas: {reason(error)}")
    return ClusterError(
        f"executors cannot run spark_nas: {reason(error)}: install the same Python, spark_nas and what the evaluator "
        "imports on them, or ship it with --py-files or --archives (Spark Connect: session.addArtifacts(..., "
        "pyfile=True))"
    )


def reason(error: BaseException) -> str:
    r"""The line of Spark's message that says what happened: the last one, as with a traceback, before any JVM's.

    >>> reason(ValueError("An exception was thrown\nKeyError: 'x'\n SQLSTATE: 38000\n\nJVM stacktrace:\nat x.y"))
    "KeyError: 'x'"
    >>> reason(ValueError("An error occurred while calling o5.f.\n: java.lang.Error: over\n\tat a.b(C.java:1)\n"))
    'java.lang.Error: over'
    """
    lines = [line.strip() for line in (_text(error) or "").partition("JVM stacktrace:")[0].splitlines()]
    lines = [line for line in lines if line and not line.startswith("SQLSTATE:")]
    thrown = [line for line in lines if line.startswith(": ")]  # as py4j says it, before the stack
    if thrown:
        return thrown[0].removeprefix(": ")
    details = [line for line in lines if line.startswith("details = ")]  # of a gRPC error that no server explained
    if details:
        return details[0].removeprefix("details = ").strip('"')
    return lines[-1] if lines else type(error).__name__


def _text(error: BaseException) -> str | None:
    """Its message; None where py4j cannot ask the JVM for it any more."""
    try:
        return str(error)
    except Exception:
        return None


def _code(error: BaseException) -> str | None:
    """The name of the gRPC status, of an error that has one."""
    status = getattr(error, "getGrpcStatusCode", None) or getattr(error, "code", None)
    try:
        return str(status().name) if callable(status) else None
    except Exception:  # some other library's idea of `code`
        return None
