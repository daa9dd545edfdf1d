"""The Spark session an engine works in: found or made, checked before it costs anything, stopped only if it is ours.

On a platform (spark-submit, a notebook) the session is the platform's and nothing of it is changed. Where there is
none, a local one is made, or one of Spark Connect on the server that `remote` names. The checks are the traps of
running training on Spark: GPU settings in local mode hang for ever without an error, speculation trains everything
twice, fractions of GPUs leave GPUs idle, and an executor that never registers says nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spark_nas.engines import connect
from spark_nas.engines.bounded import bounded
from spark_nas.engines.profiles import (
    TaskProfile,
    check_resources,
    refuse_gpus_in_local,
    resource_profile,
)
from spark_nas.engines.redaction import is_secret
from spark_nas.engines.spark_errors import reason
from spark_nas.errors import ClusterError, OptionError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_ANSWER_SECONDS = 60.0
_STOP_SECONDS = 10.0
_STOP_SILENT_SECONDS = 1.0

_OURS = {
    "spark.scheduler.mode": "FAIR",  # single-task jobs of different slots run side by side
    "spark.python.worker.faulthandler.enabled": "true",  # a crash says where
    "spark.sql.execution.pyspark.udf.faulthandler.enabled": "true",
}
_OURS_LOCAL = {
    "spark.driver.host": "127.0.0.1",  # otherwise Spark listens on an outside interface
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


@dataclass(frozen=True)
class Session:
    """How an engine comes by its Spark session."""

    master: str | None = None
    """Spark's master URL; None takes what spark-submit or the platform says, else `local[*]`."""
    remote: str | None = None
    """The address of a Spark Connect server, `sc://HOST:PORT`; None takes what SPARK_REMOTE says. The server's
    executors must be able to import spark_nas: install it there, or `session.addArtifacts(zip, pyfile=True)`."""
    conf: Mapping[str, object] = field(default_factory=dict)
    """Spark properties for a session made here; a session that is already there keeps its own. No secrets."""
    wait_seconds: float = 120.0
    """How long to wait for executors to register, and for a Spark Connect server to answer."""
    profile: TaskProfile | None = None
    """What a job's task asks of its executor, where that is not what Spark's settings say (Spark 4.0 and newer)."""

    def __post_init__(self) -> None:
        if not self.wait_seconds >= 0:
            raise OptionError("wait_seconds", self.wait_seconds, "give at least 0")
        if secret := next((key for key, value in self.conf.items() if is_secret(key, _text(value))), None):
            raise OptionError(f"conf.{secret}", "***", "leave secrets out: spark-submit takes them")
        if self.master is not None and self.master.startswith("sc://"):
            raise OptionError("master", connect.without_secrets(self.master), "is a Connect server: give it as remote")
        if self.remote is not None:
            connect.check_remote(self.remote)
            if self.master is not None:
                raise OptionError("master", self.master, "leave it out: the server that remote names has its own")

    def open(self, app_name: str = "spark_nas") -> tuple[SparkSession, bool]:
        """The session, and whether it was made here (and is ours to stop). Raises ClusterError, with the remedy."""
        wanted = {key: _text(value) for key, value in self.conf.items()}
        if self.master is not None and is_local(self.master):
            refuse_gpus_in_local(self.master, wanted)
        session = existing_session()
        if session is not None:
            if self.remote is not None and not is_connect(session):
                raise ClusterError(f"remote: {self.remote!r}: this process has another Spark session: stop that first")
            check(session, self.profile)
            return session, False
        session = self._make(app_name, wanted)
        try:
            check(session, self.profile)
        except BaseException:
            stop_session(session)
            raise
        return session, True

    def _make(self, app_name: str, conf: Mapping[str, str]) -> SparkSession:
        remote = os.environ.get("SPARK_REMOTE")
        if remote and self.master is not None:
            raise ClusterError(f"master: {self.master!r}: SPARK_REMOTE names another cluster: leave one of them out")
        if self.remote or remote:
            return connect.open_remote(self.remote or str(remote), conf, self.wait_seconds)
        if "SPARK_CONNECT_MODE_ENABLED" in os.environ:  # for good: PySpark keeps no way back
            raise ClusterError("this process has worked through Spark Connect: give remote again, or start another one")
        return _make(self.master, app_name, conf)


def open_session(
    master: str | None = None, *, app_name: str = "spark_nas", conf: Mapping[str, object] | None = None
) -> SparkSession:
    """The session that is there, or a new one; checked. Raises ClusterError, with the remedy, if it cannot serve."""
    return Session(master, conf=conf or {}).open(app_name)[0]


def stop_session(session: SparkSession, *, answers: bool = True) -> None:
    """Stop it, but wait no longer than 10 s: a Spark that hangs or is gone must not hold up its driver's end.

    `answers`: false where it has kept somebody waiting in vain already, which is reason enough to wait but one second.
    """
    try:
        bounded(session.stop, _STOP_SECONDS if answers else _STOP_SILENT_SECONDS)
    except Exception:
        if is_connect(session):
            with contextlib.suppress(Exception):
                connect.give_up(session)


def existing_session() -> SparkSession | None:
    """The session of this process, if one is running."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession
    from pyspark.sql.utils import is_remote

    if is_remote():
        return connect.existing_remote()
    context = SparkContext._active_spark_context
    return SparkSession.builder.getOrCreate() if context is not None and context._jsc is not None else None


def is_local(master: str) -> bool:
    """Whether executors are threads of the driver's own JVM.

    >>> [is_local(m) for m in ("local", "local[2]", "local[*, 4]", "local-cluster[2,1,1024]", "yarn")]
    [True, True, True, False, False]
    """
    return master == "local" or master.startswith("local[")


def is_connect(session: SparkSession) -> bool:
    """Whether this is a Spark Connect client: no JVM, no SparkContext on this side."""
    return type(session).__module__.startswith("pyspark.sql.connect")


def check(session: SparkSession, profile: TaskProfile | None = None) -> None:
    """Refuse a session in which jobs would hang, train twice, or share GPUs unasked. Raises ClusterError."""
    if is_connect(session):
        connect.check_answers(session, _ANSWER_SECONDS)
    master = setting_of(session, "spark.master") or ""
    if is_local(master):
        names = ("spark.task.resource.gpu.amount", "spark.task.resource.fpga.amount")
        refuse_gpus_in_local(master, {name: value for name in names if (value := setting_of(session, name))})
    if (setting_of(session, "spark.speculation") or "false").lower() == "true":
        raise ClusterError("spark.speculation: 'true': start Spark with it set to false, it would train jobs twice")
    check_resources(partial(setting_of, session), profile)


def stage_profile(session: SparkSession, profile: TaskProfile | None) -> ResourceProfile | None:
    """The profile of this session's stages; None without one. Raises ClusterError where Spark has none."""
    if profile is None:
        return None
    check(session, profile)
    local = is_local(setting_of(session, "spark.master") or "")
    setting = partial(setting_of, session)
    return resource_profile(session, profile, setting=setting, local=local, remote=is_connect(session))


def _make(master: str | None, app_name: str, conf: Mapping[str, str]) -> SparkSession:
    from pyspark import SparkConf
    from pyspark.sql import SparkSession

    _need_java()
    submitted = SparkConf()
    if "PYSPARK_GATEWAY_PORT" in os.environ:  # under spark-submit the JVM is there, and knows its properties
        from pyspark import SparkContext

        SparkContext._ensure_initialized()
        submitted = SparkConf()
    master = master or conf.get("spark.master") or submitted.get("spark.master") or "local[*, 4]"
    settings = {**_OURS, **(_OURS_LOCAL if is_local(master) else {})}
    settings = {key: value for key, value in settings.items() if not submitted.contains(key)} | dict(conf)
    if is_local(master):
        task_gpus = "spark.task.resource.gpu.amount"
        refuse_gpus_in_local(master, {task_gpus: submitted.get(task_gpus) or "", **conf})
    if is_local(master) or master.startswith("local-cluster"):
        # Without this, workers run whatever python3 comes first on PATH.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name).master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except Exception as error:  # a master that is none, a port that is taken, a class that is not there, ...
        why = reason(error).rstrip(".")
        raise ClusterError(f"master: {master!r}: Spark did not start: {why}; check the master and the conf") from error
    session.sparkContext.setLogLevel("ERROR")
    return session


def _need_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").exists():
        raise ClusterError(f"JAVA_HOME: {home!r}: there is no bin/java in it; point it to a Java 17 installation")
    if not home and shutil.which("java") is None:
        raise ClusterError("java: not found: install Java 17 (OpenJDK), or set JAVA_HOME to where it is")


def setting_of(session: SparkSession, key: str) -> str | None:
    """What a session was started with; None where it, or the server that it is on, says nothing of the key."""
    if is_connect(session):
        try:
            return session.conf.get(key, None)
        except Exception:
            return None
    return session.sparkContext.getConf().get(key)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
