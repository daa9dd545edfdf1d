"""The one place where a job meets its device, its evaluator and its commit: what an executor runs.

    committed already? -> return that    else evaluate -> commit -> return the winner's result

A short job that leaves no checkpoint may leave its commit to the driver's row (`Limits.commit_seconds`).

Nothing an evaluator raises can end the task: it becomes a failed result, or a lost one where it tells of the
machine and not of the job (docs/decisions/0007). A failed result is not committed. It becomes final when the driver
appends its row; a driver that dies before that asks for the job again on resuming, and the job gets another chance that
nobody can tell from its first. The exception is a job that had to be killed (`watchdog`): its failure is committed,
because whoever retries it would hang for as long again.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from spark_nas.engines.environment import environment_of
from spark_nas.engines.faults import SPOILED, is_machines_fault, spoils_process
from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.watchdog import guard, in_spark_worker
from spark_nas.errors import JobError, TimeLimitExceeded
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Architecture, CurvePoint, Job, Outcome, Result, Status

_REASON_LENGTH = 300
_TRACEBACK_LENGTH = 4000
_log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


class StoreFailed(Exception):
    """The store could not be reached: nobody's fault but the cluster's, so the job is lost, not failed."""


class ProcessSpoiled(Exception):
    """The job cannot run in this process, through no fault of its own: it is lost."""


class JobWorkspace:
    """`search.protocols.Workspace`: what an evaluator may touch while a job runs."""

    def __init__(
        self,
        job: Job,
        store: JobStore | None,
        limits: Limits,
        place: Place,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job, self._store, self._limits = job, store, limits
        self.place = place
        self._clock = clock
        self._started = self._kept = clock()
        self.started_at = datetime.now(UTC)
        self.checkpoint: bytes | None = None
        """What the evaluator saved last; invisible to others until the commit."""
        self.has_traces = False
        """Whether there is a recovery checkpoint, which the job's commit removes."""
        self.curve: list[CurvePoint] = []
        """What was reported so far; the watchdog's thread reads it, too."""

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

    def origin(self) -> str | None:
        """A name for what `load` returns, unlike that of any other; None where there is nothing to load."""
        start = self._job.start_from
        return None if start is None or self._store is None else _reach(self._store.origin, start)

    def save(self, checkpoint: bytes) -> None:
        """Leave the job's checkpoint; a second one replaces the first."""
        if not isinstance(checkpoint, bytes):
            raise TypeError(f"a checkpoint is bytes, not {type(checkpoint).__name__}")
        self.checkpoint = checkpoint

    def recover(self) -> bytes | None:
        """What an earlier attempt at this job has kept; None where none are kept (`checkpoint_seconds`)."""
        if self._store is None or self._limits.checkpoint_seconds is None:
            return None
        kept = _reach(self._store.kept, self._job.key)
        self.has_traces = self.has_traces or kept is not None
        return kept

    def keep(self, state: Callable[[], bytes]) -> None:
        """Write a recovery checkpoint if it is due. A store out of reach, or full, costs no more than the checkpoint.

        The interval counts from the end of a write, so that a slow store never takes more than its share.
        """
        interval = self._limits.checkpoint_seconds
        if self._store is None or interval is None or self._clock() - self._kept < interval:
            return
        content = state()
        self.has_traces = True
        try:
            self._store.keep(self._job.key, content)
        except Exception as error:  # the commit decides whether the job is lost
            _log.warning("no recovery checkpoint of job %s this time: %s", tuple(self._job.key), error)
        self._kept = self._clock()

    def report(self, point: CurvePoint) -> None:
        """Add a point to the job's curve. Raises ValueError or TypeError for one that is not made of numbers."""
        self.curve.append(_plain(point))

    def check_time(self) -> None:
        """Raise TimeLimitExceeded when the job has run longer than its limit."""
        limit = self._limits.seconds
        if limit is not None and self.seconds > limit:
            raise TimeLimitExceeded(f"ran longer than its time limit of {limit:g} s")

    @property
    def seconds(self) -> float:
        """Wall time since the job began."""
        return self._clock() - self._started


def run_job(
    job: Job,
    evaluator: Evaluator,
    store: JobStore | None = None,
    limits: Limits | None = None,
    attempt: int = 1,
    *,
    place: Place,
    expendable: bool | None = None,
    careful: bool = False,
) -> Result:
    """The result of a job; never raises, save for KeyboardInterrupt.

    `completed` is committed (with a store), `failed` is the job's own failure, `lost` means that the store or the
    machine failed: the driver submits the job again. In an `expendable` process (by default: a Spark task's) a job that
    hangs beyond its limit ends with the process, as a committed failure. `careful` commits even the shortest job.
    """
    limits = limits or Limits()
    workspace = JobWorkspace(job, store, limits, place)

    def result(status: Status, outcome: Outcome | None = None, error: str | None = None) -> Result:
        return _result(job, status, outcome, error, attempt, workspace)

    def last_words(stack: str) -> None:
        reason = f"TimeLimitExceeded: ran longer than its time limit of {limits.seconds:g} s and did not stop"
        if store is not None:
            store.commit(result("failed", error=f"{reason}\n{_tail(stack)}"), None)

    expendable = in_spark_worker() if expendable is None else expendable
    try:
        if store is not None and (stored := _committed(store, job)) is not None:
            return stored
        _prepare(place)
        with guard(limits.seconds if expendable else None, limits.patience, last_words):
            outcome = evaluator.evaluate(job, workspace)
        return _commit(store, result("completed", outcome), workspace, limits, careful or attempt > 1)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # the job's edge: the only broad catch. Native code may raise anything
        return result(*_verdict(error, expendable))


def _commit(store: JobStore | None, result: Result, workspace: JobWorkspace, limits: Limits, careful: bool) -> Result:
    """Commit, unless running the job again would cost less and it leaves nothing; the winner's result."""
    traces = workspace.checkpoint is not None or workspace.has_traces
    if store is not None and (careful or traces or result.seconds >= limits.commit_seconds):
        return _reach(store.commit, result, workspace.checkpoint)
    return result


def _prepare(place: Place) -> None:
    """Raise ProcessSpoiled where a job before this one has left nothing to run on."""
    if SPOILED.is_set():
        raise ProcessSpoiled("CUDA failed in this process, under another job")
    environment_of(place)  # found once a process: a job that hangs may leave its last words no time for that


def _verdict(error: BaseException, expendable: bool) -> tuple[Status, None, str]:
    if isinstance(error, ProcessSpoiled):
        return "lost", None, describe(error)
    if expendable and spoils_process(error):
        SPOILED.set()
    if isinstance(error, StoreFailed):
        return "lost", None, f"the store failed: {describe(error.__cause__ or error)}"
    return "lost" if is_machines_fault(error) else "failed", None, describe(error)


def _committed(store: JobStore, job: Job) -> Result | None:
    stored = _reach(store.committed, job.key)
    if stored is not None and stored.job != job:
        raise of_another(stored)
    return stored


def of_another(stored: Result) -> JobError:
    """What is wrong with a commit that bears a job's name and is not that job's."""
    return JobError(f"the store holds another experiment's job {tuple(stored.job.key)}: {stored.job}")


def describe(error: BaseException) -> str:
    """One line that says what happened, then the tail of the traceback; both of bounded length."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # an exception of the job's own making may not even know its text
        lines = []
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if len(reason) > _REASON_LENGTH:
        reason = reason[: _REASON_LENGTH - 3] + "..."
    return f"{reason}\n{_tail(''.join(traceback.format_exception(error)).rstrip())}"


def _result(
    job: Job,
    status: Status,
    outcome: Outcome | None,
    error: str | None,
    attempt: int,
    workspace: JobWorkspace,
) -> Result:
    if status == "completed" and not isinstance(outcome, Outcome):
        raise JobError(f"the evaluator returned {type(outcome).__name__} instead of an Outcome")
    place = workspace.place
    where = f"{socket.gethostname()}/{os.getpid()}"
    return Result(
        job,
        status,
        loss=float(outcome.loss) if outcome else math.nan,
        metrics=_floats(outcome.metrics) if outcome else {},
        curve=tuple(map(_plain, outcome.curve)) if outcome and outcome.curve else tuple(workspace.curve),
        derived=tuple(map(Architecture, outcome.derived)) if outcome else (),
        error=error,
        started_at=workspace.started_at,
        seconds=workspace.seconds,
        executor=where if place.gpu is None else f"{where}/gpu-{place.gpu}",
        attempt=attempt,
        environment=environment_of(place),
    )


def _tail(text: str) -> str:
    return text if len(text) <= _TRACEBACK_LENGTH else "..." + text[3 - _TRACEBACK_LENGTH :]


def _plain(point: CurvePoint) -> CurvePoint:
    return CurvePoint(int(point.resource), float(point.loss), _floats(point.metrics))


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
