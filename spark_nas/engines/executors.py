"""How many tasks a cluster runs at the same time, and waiting until it runs any, which it may never do, silently."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from spark_nas.engines import connect
from spark_nas.engines.profiles import map_arguments
from spark_nas.engines.session import check, is_connect, is_local, setting_of
from spark_nas.errors import ClusterError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_POLL_SECONDS = 0.2
_SETTLED_SECONDS = 3.0


def slots_of(
    session: SparkSession, wanted: int | None, wait_seconds: float, profile: ResourceProfile | None = None
) -> int:
    """How many tasks run at the same time (executors, cores a task and GPUs considered), or `wanted` if they fit.

    Waits for executors to register: until `wanted` fit, or (None) until their number has settled. Raises
    ClusterError, naming both numbers, when fewer register than are wanted, or none at all. Spark Connect tells its
    default parallelism at the most: cores, and not those of executors that are still to come; so it needs a number.
    """
    if profile is None:
        check(session)
    if is_connect(session):
        if wanted is None:
            raise ClusterError(
                "slots: None: Spark Connect does not tell the size of its cluster: give the number of its executors "
                "times the tasks that one runs"
            )
        connect.check_runs(session, wait_seconds, map_arguments(profile))
        return wanted
    if wanted is not None and _grows(session):
        return wanted  # asking is what makes such a cluster grow
    local = is_local(setting_of(session, "spark.master") or "")
    count = partial(_concurrent_tasks, session, profile)
    found = count() if local else _settle(count, wanted, wait_seconds)
    if found == 0:
        raise _no_executor(wait_seconds)
    if wanted is not None and wanted > found:
        raise ClusterError(f"slots: {wanted}: the cluster runs {found} tasks at the same time; ask for at most {found}")
    return wanted or found


def wait_for_executors(session: SparkSession, wait_seconds: float, profile: ResourceProfile | None = None) -> None:
    """Until one task can run. Raises ClusterError after `wait_seconds`, where Spark would wait for ever."""
    if profile is None:
        check(session)
    if is_connect(session):
        connect.check_runs(session, wait_seconds, map_arguments(profile))
        return
    if _grows(session):
        return
    if _settle(partial(_concurrent_tasks, session, profile), 1, wait_seconds) == 0:
        raise _no_executor(wait_seconds)


def _grows(session: SparkSession) -> bool:
    return (setting_of(session, "spark.dynamicAllocation.enabled") or "false").lower() == "true"


def _no_executor(wait_seconds: float) -> ClusterError:
    return ClusterError(f"no executor can run a task after {wait_seconds:g} s: check the cluster and what is free")


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


def _concurrent_tasks(session: SparkSession, profile: ResourceProfile | None) -> int:
    # The number Spark itself uses to admit barrier stages: registered executors, task.cpus and task GPUs considered.
    context = session.sparkContext._jsc.sc()
    default = context.resourceProfileManager().defaultResourceProfile()
    return int(context.maxNumConcurrentTasks(default if profile is None else profile._java_resource_profile))
