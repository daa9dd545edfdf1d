"""Spark Connect: sessions that are gRPC clients, with no SparkContext and no JVM on this side.

What differs from a session with a JVM is told here: how one is opened, whether its server still answers, and how it
is let go. A client repeats a call that found no server for ten minutes, and once more when its process ends: every
call to a server that may be gone is therefore bounded, and a client whose server is gone is told to repeat nothing.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from spark_nas.engines.bounded import bounded
from spark_nas.engines.spark_errors import is_gone, reason
from spark_nas.errors import ClusterError, ClusterLost, OptionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_EXTRA = "pip install 'spark_nas[connect]' (grpcio, grpcio-status, googleapis-common-protos, zstandard)"
_LEAST_SECONDS = 1.0  # a wait of 0 is one for executors: even a server that is there needs a moment to answer
_FAULTHANDLER = "spark.sql.execution.pyspark.udf.faulthandler.enabled"


def check_remote(url: str) -> None:
    """Refuse what is no address of a Connect server, and secrets in it. Raises OptionError, without the secret."""
    shown = without_secrets(url)
    if not url.startswith("sc://") or not url.removeprefix("sc://").split("/")[0]:
        raise OptionError("remote", shown, "give the address of a Spark Connect server, sc://HOST:PORT")
    if shown != url:
        raise OptionError("remote", shown, "keep the token out of experiments: put the whole address into SPARK_REMOTE")


def without_secrets(url: str) -> str:
    """The address without the values of its parameters that must not be seen.

    >>> without_secrets("sc://host:443/;use_ssl=true;token=abc;x-key=1")
    'sc://host:443/;use_ssl=true;token=***;x-key=***'
    """
    address, *parameters = url.split(";")
    names = [parameter.partition("=")[0] for parameter in parameters]
    open_to_all = ("use_ssl", "user_id", "user_agent", "session_id")
    shown = [p if n in open_to_all or not p else f"{n}=***" for n, p in zip(names, parameters, strict=True)]
    return ";".join([address, *shown])


def open_remote(url: str, conf: Mapping[str, str], wait_seconds: float) -> SparkSession:
    """A new session on the server at `url`, which must answer within `wait_seconds`. Raises ClusterError."""
    _need_grpc()
    from pyspark.sql import SparkSession

    shown = without_secrets(url)

    def configure() -> None:
        for key, value in {_FAULTHANDLER: "true", **conf}.items():
            session.conf.set(key, value)

    try:
        session: SparkSession = SparkSession.builder.remote(url).getOrCreate()  # calls nobody as yet
    except Exception as error:
        raise ClusterError(f"remote: {shown!r}: {reason(error)}") from error
    try:
        bounded(configure, max(_LEAST_SECONDS, wait_seconds))
    except Exception as error:
        give_up(session)
        session.stop()
        if isinstance(error, TimeoutError) or is_gone(error):
            raise ClusterError(
                f"remote: {shown!r}: no Spark Connect server answered within {wait_seconds:g} s: check the address, "
                "and that the server runs"
            ) from None
        raise ClusterError(f"remote: {shown!r}: {reason(error)}") from error
    return session


def existing_remote() -> SparkSession | None:
    """The Connect session that this process works in, if there is one."""
    from pyspark.sql.connect.session import SparkSession as RemoteSession

    try:
        session: Any = RemoteSession.builder.getOrCreate()
    except Exception:  # there was one, and it was stopped; nothing says where another would be
        return None
    return session  # type: ignore[no-any-return]  # it is no subclass of the other SparkSession in Spark 3.5


def check_answers(session: SparkSession, seconds: float) -> None:
    """Ask the server for a sign of life. Raises ClusterLost when none comes within `seconds`."""
    seconds = max(_LEAST_SECONDS, seconds)
    try:
        bounded(lambda: session.conf.get("spark.app.name", None), seconds)
    except TimeoutError:
        give_up(session)
        raise ClusterLost(f"the Spark Connect server has not answered for {seconds:g} s") from None
    except Exception as error:
        give_up(session)
        raise ClusterLost(f"the Spark Connect server is gone: {reason(error)}") from error


def check_runs(session: SparkSession, seconds: float, profile: Mapping[str, Any]) -> None:
    """Run a task that does nothing: a server without executors would leave jobs waiting for ever.

    `profile` are the further arguments of `mapInArrow`. Raises ClusterError.
    """
    tag = f"spark-nas-{uuid.uuid4().hex[:12]}"

    def run() -> None:
        session.addTag(tag)
        session.range(0, 1, 1, 1).mapInArrow(lambda rows: rows, "id long", **profile).collect()

    try:
        bounded(run, max(_LEAST_SECONDS, seconds))
    except TimeoutError:
        with contextlib.suppress(Exception):
            bounded(lambda: session.interruptTag(tag), 5.0)
        raise ClusterError(
            f"no executor behind Spark Connect ran a task within {seconds:g} s: check its free resources"
        ) from None
    except Exception as error:
        raise ClusterError(f"the Spark Connect server cannot run a task: {reason(error)}") from error


def give_up(session: SparkSession) -> None:
    """Let the client repeat no call any more: otherwise the process would wait minutes for its server when it ends."""
    client = session.client
    if hasattr(client, "set_retry_policies"):  # from Spark 4.0
        client.set_retry_policies([])


def _need_grpc() -> None:
    try:
        import pyspark.sql.connect.session  # noqa: F401
    except ImportError as error:
        raise ClusterError(f"remote: {reason(error)}: {_EXTRA}") from error
