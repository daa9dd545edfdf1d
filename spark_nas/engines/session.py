"""The Spark session an engine works in: found or made, checked before it costs anything, stopped only if it is ours.

On a platform (spark-submit, a notebook) the session is the platform's and nothing of it is changed. Where there is
none, a local one is made. The checks are the traps of running training on Spark: GPU settings in local mode hang
for ever without an error, speculation trains everything twice, and an executor that never registers says nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from spark_nas.errors import ClusterError, OptionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_POLL_SECONDS = 0.2
_SETTLED_SECONDS = 3.0

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
    conf: Mapping[str, object] = field(default_factory=dict)
    """Spark properties for a session made here; a session that is already there keeps its own."""
    wait_seconds: float = 120.0
    """How long to wait for executors to register."""

    def __post_init__(self) -> None:
        if not self.wait_seconds >= 0:
            raise OptionError("wait_seconds", self.wait_seconds, "give at least 0")

    def open(self) -> tuple[SparkSession, bool]:
        """The session, and whether it was made here (and is ours to stop); see `open_session`."""
        ours = existing_session() is None
        return open_session(self.master, conf=self.conf), ours


def open_session(
    master: str | None = None, *, app_name: str = "spark_nas", conf: Mapping[str, object] | None = None
) -> SparkSession:
    """The session that is there, or a new one; checked. Raises ClusterError, with the remedy, if it cannot serve."""
    wanted = {key: _text(value) for key, value in (conf or {}).items()}
    if master is not None and is_local(master):
        _refuse_gpus_in_local(master, wanted)
    session = existing_session() or _make(master, app_name, wanted)
    check(session)
    return session


def existing_session() -> SparkSession | None:
    """The session of this process, if one is running (of a Spark Connect client: the one it is configured for)."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession
    from pyspark.sql.utils import is_remote

    if is_remote():
        return SparkSession.builder.getOrCreate()
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


def check(session: SparkSession) -> None:
    """Refuse a session in which jobs would hang or train twice. Raises ClusterError."""
    master = _setting(session, "spark.master") or ""
    if is_local(master):
        names = ("spark.task.resource.gpu.amount", "spark.task.resource.fpga.amount")
        _refuse_gpus_in_local(master, {name: value for name in names if (value := _setting(session, name))})
    if (_setting(session, "spark.speculation") or "false").lower() == "true":
        raise ClusterError("spark.speculation: 'true': start Spark with it set to false, it would train jobs twice")


def slots_of(session: SparkSession, wanted: int | None, wait_seconds: float) -> int:
    """How many tasks run at the same time (executors, cores a task and GPUs considered), or `wanted` if they fit.

    Waits for executors to register: until `wanted` fit, or (None) until their number has settled. Raises
    ClusterError, naming both numbers, when fewer register than are wanted, or none at all.
    """
    if is_connect(session):
        if wanted is None:
            raise ClusterError("slots: None: Spark Connect does not tell the size of its cluster; give a number")
        return wanted
    if wanted is not None and _grows(session):
        return wanted  # asking is what makes such a cluster grow
    local = is_local(_setting(session, "spark.master") or "")
    count = partial(_concurrent_tasks, session)
    found = count() if local else _settle(count, wanted, wait_seconds)
    if found == 0:
        raise _no_executor(wait_seconds)
    if wanted is not None and wanted > found:
        raise ClusterError(f"slots: {wanted}: the cluster runs {found} tasks at the same time; ask for at most {found}")
    return wanted or found


def wait_for_executors(session: SparkSession, wait_seconds: float) -> None:
    """Until one task can run. Raises ClusterError after `wait_seconds`, where Spark would wait for ever."""
    if is_connect(session) or _grows(session):
        return
    if _settle(partial(_concurrent_tasks, session), 1, wait_seconds) == 0:
        raise _no_executor(wait_seconds)


def _grows(session: SparkSession) -> bool:
    return (_setting(session, "spark.dynamicAllocation.enabled") or "false").lower() == "true"


def _no_executor(wait_seconds: float) -> ClusterError:
    return ClusterError(
        f"no executor can run a task after {wait_seconds:g} s: check the cluster and its free resources"
    )


def _settle(count: Callable[[], int], wanted: int | None, wait_seconds: float) -> int:
    """Poll until there are `wanted`, or (None) until there are some and their number has stayed the same."""
    start = last_change = time.monotonic()
    found = count()
    while time.monotonic() - start < wait_seconds:
        settled = found > 0 and time.monotonic() - last_change > _SETTLED_SECONDS
        if found >= wanted if wanted is not None else settled:
            break
        time.sleep(_POLL_SECONDS)
        now = count()
        if now != found:
            found, last_change = now, time.monotonic()
    return found


def _concurrent_tasks(session: SparkSession) -> int:
    # The number Spark itself uses to admit barrier stages: registered executors, task.cpus and task GPUs considered.
    context = session.sparkContext._jsc.sc()
    return int(context.maxNumConcurrentTasks(context.resourceProfileManager().defaultResourceProfile()))


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
        _refuse_gpus_in_local(master, {task_gpus: submitted.get(task_gpus) or "", **conf})
    if is_local(master) or master.startswith("local-cluster"):
        # Without this, workers run whatever python3 comes first on PATH.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName(app_name).master(master)
    for key, value in settings.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session


def _refuse_gpus_in_local(master: str, conf: Mapping[str, str]) -> None:
    for key, value in conf.items():
        if key.startswith("spark.task.resource.") and key.endswith(".amount") and value:
            raise ClusterError(
                f"{key}: {value!r}: Spark never starts a task that asks for it with master {master!r}; leave it out, "
                "or use a cluster"
            )


def _need_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if home and not (Path(home) / "bin" / "java").exists():
        raise ClusterError(f"JAVA_HOME: {home!r}: there is no bin/java in it; point it to a Java 17 installation")
    if not home and shutil.which("java") is None:
        raise ClusterError("java: not found: install Java 17 (OpenJDK), or set JAVA_HOME to where it is")


def _setting(session: SparkSession, key: str) -> str | None:
    if is_connect(session):
        try:
            return session.conf.get(key, None)
        except Exception:
            return None
    return session.sparkContext.getConf().get(key)


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
