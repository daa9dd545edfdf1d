"""The one place where a job meets its device, its evaluator and its commit: what an executor runs.

    committed already? -> return that    else evaluate -> commit -> return the winner's result

Nothing an evaluator does can end the task: what it raises becomes a failed result (DESIGN.md 5). A failed result is
not committed. It becomes final when the driver appends its row; a driver that dies before that asks for the job
again on resuming, and the job gets another chance that nobody can tell from its first.
"""

from __future__ import annotations

import importlib.metadata
import math
import os
import platform
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import ParamSpec, TypeVar

from spark_nas.engines.gpu import Place
from spark_nas.errors import JobError, OptionError, TimeLimitExceeded
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import CurvePoint, Job, Outcome, Result, Status

_REASON_LENGTH = 300
_TRACEBACK_LENGTH = 4000

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use."""

    seconds: float | None = None
    """Wall time of one job; None for no limit."""

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise OptionError("time_limit", self.seconds, "give seconds greater than 0, or leave it out")


class StoreFailed(Exception):
    """The store could not be reached: nobody's fault but the cluster's, so the job is lost, not failed."""


class JobWorkspace:
    """`search.protocols.Workspace`: what an evaluator may touch while a job runs."""

    def __init__(self, job: Job, store: JobStore | None, limits: Limits, place: Place) -> None:
        self._job, self._store, self._limits = job, store, limits
        self.place = place
        self._started = time.monotonic()
        self.checkpoint: bytes | None = None
        """What the evaluator saved last; invisible to others until the commit."""

    @property
    def device(self) -> str:
        """`cpu`, or `cuda:N` for the address that Spark gave the task."""
        return self.place.device()

    @property
    def threads(self) -> int:
        """CPU threads that this job may use."""
        return self.place.threads

    def load(self) -> bytes | None:
        """The checkpoint of `job.start_from`. Raises JobError when it is not there."""
        start = self._job.start_from
        if start is None:
            return None
        if self._store is None:
            raise JobError(f"job {tuple(self._job.key)} starts from {tuple(start)}, but this engine has no store")
        return _reach(self._store.checkpoint, start)

    def save(self, checkpoint: bytes) -> None:
        """Leave the job's checkpoint; a second one replaces the first."""
        self.checkpoint = checkpoint

    def check_time(self) -> None:
        """Raise TimeLimitExceeded when the job has run longer than its limit."""
        limit = self._limits.seconds
        if limit is not None and self.seconds > limit:
            raise TimeLimitExceeded(f"ran longer than its time limit of {limit:g} s")

    @property
    def seconds(self) -> float:
        """Wall time since the job began."""
        return time.monotonic() - self._started


def run_job(
    job: Job,
    evaluator: Evaluator,
    store: JobStore | None = None,
    limits: Limits | None = None,
    attempt: int = 1,
    *,
    place: Place,
) -> Result:
    """The result of a job; never raises, save for KeyboardInterrupt.

    `completed` is committed (with a store), `failed` is the job's own failure, `lost` means that the store could
    not be reached: the driver submits the job again.
    """
    started_at = datetime.now(UTC)
    workspace = JobWorkspace(job, store, limits or Limits(), place)

    def result(status: Status, outcome: Outcome | None = None, error: str | None = None) -> Result:
        return _result(job, status, outcome, error, started_at, attempt, workspace)

    try:
        if store is not None and (stored := _reach(store.committed, job.key)) is not None:
            if stored.job != job:
                raise JobError(f"the store holds another experiment's job {tuple(job.key)}: {stored.job}")
            return stored
        completed = result("completed", evaluator.evaluate(job, workspace))
        return completed if store is None else _reach(store.commit, completed, workspace.checkpoint)
    except StoreFailed as failure:
        return result("lost", error=f"the store failed: {describe(failure.__cause__ or failure)}")
    except (Exception, SystemExit) as error:  # the job's edge: the only broad catch
        return result("failed", error=describe(error))


def describe(error: BaseException) -> str:
    """One line that says what happened, then the tail of the traceback; both of bounded length."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if len(reason) > _REASON_LENGTH:
        reason = reason[: _REASON_LENGTH - 3] + "..."
    trace = "".join(traceback.format_exception(error)).rstrip()
    if len(trace) > _TRACEBACK_LENGTH:
        trace = "..." + trace[3 - _TRACEBACK_LENGTH :]
    return f"{reason}\n{trace}"


@lru_cache(maxsize=1)
def versions() -> Mapping[str, str]:
    """Versions of Python and, where they are installed, of torch and Spark in this process."""
    found = {"python": platform.python_version()}
    for name, distribution in (("torch", "torch"), ("spark", "pyspark")):
        try:
            found[name] = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:  # a platform's own build is no distribution
            if distribution in sys.modules:
                found[name] = str(sys.modules[distribution].__version__)
    return found


def _result(
    job: Job,
    status: Status,
    outcome: Outcome | None,
    error: str | None,
    started_at: datetime,
    attempt: int,
    workspace: JobWorkspace,
) -> Result:
    place = workspace.place
    where = f"{socket.gethostname()}/{os.getpid()}"
    return Result(
        job,
        status,
        loss=float(outcome.loss) if outcome else math.nan,
        metrics=_floats(outcome.metrics) if outcome else {},
        curve=tuple(CurvePoint(p.resource, float(p.loss), _floats(p.metrics)) for p in outcome.curve)
        if outcome
        else (),
        derived=tuple(outcome.derived) if outcome else (),
        error=error,
        started_at=started_at,
        seconds=workspace.seconds,
        executor=where if place.gpu is None else f"{where}/gpu-{place.gpu}",
        attempt=attempt,
        environment=_environment(place),
    )


def _environment(place: Place) -> dict[str, str]:
    try:
        device = place.device()
    except JobError:  # a required GPU that is not there: the result's error says so
        device = "none"
    environment = {**versions(), "device": device}
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        environment["gpu"] = torch.cuda.get_device_name(device)
        environment["cuda"] = str(torch.version.cuda)
    return environment


def _floats(values: Mapping[str, float]) -> dict[str, float]:
    # numpy's and torch's scalars do not travel as JSON, which on its way also sorts the names: so the table of every
    # engine is the same to the last byte
    return {name: float(values[name]) for name in sorted(values)}


def _reach(call: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the store: a JobError is its answer, anything else means that it could not be reached."""
    try:
        return call(*args, **kwargs)
    except JobError:
        raise
    except Exception as error:
        raise StoreFailed(str(error)) from error
