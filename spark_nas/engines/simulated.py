"""A cluster in virtual time: an event heap, stragglers and lost workers, any number of workers, one process.

Hours of asynchronous search on hundreds of workers run in seconds and always the same way, so schedulers are
studied here and never on threads. The straggler and drop model is that of Li et al., "A System for Massively
Parallel Hyperparameter Tuning" (MLSys 2020), appendix A.1. The evaluator is real: whatever computes losses
elsewhere computes them here; only the clock is made up.
"""

from __future__ import annotations

import heapq
import math
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Protocol, runtime_checkable

from spark_nas.engines.task import describe, of_another
from spark_nas.errors import JobError, OptionError, UsageError
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import CurvePoint, Job, JobKey, Result

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = 250_000_000_000
"""The latest virtual second: the year 9892. Dates end with the year 9999."""


@runtime_checkable
class TimedEvaluator(Protocol):
    """An evaluator that knows how long training takes, for instance because its table says so."""

    def seconds(self, job: Job, start: int) -> float:
        """Seconds for training `job.trial` from `start` units to `job.resource`; less if it fails on the way."""
        ...


@dataclass(frozen=True)
class Simulated:
    """Options of the simulated engine."""

    workers: int = 25
    """How many jobs run at the same time."""
    unit_seconds: float | None = None
    """Virtual seconds that one unit of resource takes; None asks the evaluator, and takes 1 where it cannot say.

    The clock begins with 1970 and ends before the year 9999, after 2.5e11 seconds.
    """
    straggler_std: float = 0.0
    """A job takes (1 + |N(0, std)|) times as long."""
    drop_probability: float = 0.0
    """p: probability that a running job is lost within one virtual second."""
    seed: int = 1
    """Of stragglers and drops."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise OptionError("workers", self.workers, "must be at least 1")
        if self.unit_seconds is not None and not 0 < self.unit_seconds <= _END:
            raise OptionError(
                "unit_seconds", self.unit_seconds, f"must be greater than 0 and at most {_END:g}, or left out"
            )
        if not 0 <= self.straggler_std < math.inf:
            raise OptionError("straggler_std", self.straggler_std, "must be at least 0")
        if not 0 <= self.drop_probability < 1:
            raise OptionError("drop_probability", self.drop_probability, "must be at least 0 and less than 1")

    def build(self, evaluator: Evaluator, store: JobStore | None = None) -> SimulatedEngine:
        """The engine; without a store, checkpoints live in memory and die with the engine."""
        return SimulatedEngine(evaluator, self, store=store)


@dataclass(frozen=True, slots=True)
class _Event:
    """What happens to a running job at the end of its stay on a worker."""

    job: Job
    worker: int
    started: float
    lost: bool


class SimulatedEngine:
    """Runs jobs on virtual workers and a virtual clock, `now`, in seconds from 0.

    Events are ordered by (time, number of submission), so equal times come back first in, first out, one event
    a `wait`. A job is evaluated when it ends; a lost job is never evaluated, comes back as `lost` at the moment
    its worker vanishes, and the worker is replaced at once. Every attempt draws its own straggler factor.

    With two workers, jobs a (3 units), b (1), c (1) submitted together: b ends at 1 and c takes its worker, c ends
    at 2, a at 3.
    """

    def __init__(self, evaluator: Evaluator, options: Simulated, *, store: JobStore | None = None) -> None:
        self._evaluator, self._options = evaluator, options
        self._store: JobStore = store if store is not None else MemoryStore()
        self._timed = evaluator if options.unit_seconds is None and isinstance(evaluator, TimedEvaluator) else None
        self._rng = Random(options.seed)
        self._heap: list[tuple[float, int, _Event]] = []
        self._idle = list(range(options.workers))
        self._queue: deque[Job] = deque()
        self._losses: dict[JobKey, int] = {}
        self._arrivals = 0
        self.now = 0.0
        self.lost = 0
        """Jobs lost so far."""

    @property
    def slots(self) -> int:
        """The number of workers."""
        return self._options.workers

    def clock(self) -> float:
        """The virtual time, in the form `driver.run` wants its clock."""
        return self.now

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start jobs now; those for which no worker is idle queue up, first in, first out.

        Raises UsageError, as `wait` does, for a job that would end when there are no dates any more.
        """
        self._queue.extend(jobs)
        self._start_queued()

    def wait(self, timeout: float | None = None) -> list[Result]:
        """Move the clock to the next event, however far, and return its one result."""
        if not self._heap:
            raise ValueError("nothing is in flight")
        self.now, _, event = heapq.heappop(self._heap)
        heapq.heappush(self._idle, event.worker)
        result = self._lose(event) if event.lost else self._finish(event)
        self._start_queued()
        return [result]

    def close(self) -> None:
        """Forget what is in flight."""
        self._heap.clear()
        self._queue.clear()
        self._idle = list(range(self._options.workers))

    def _start_queued(self) -> None:
        while self._queue and self._idle:
            job, worker = self._queue.popleft(), heapq.heappop(self._idle)
            duration = self._duration(job)
            survives = self._time_to_drop()
            end = self.now + min(duration, survives)
            if not end <= _END:  # also when it is no number
                raise UsageError(self._too_late(job, duration))
            event = _Event(job, worker, self.now, survives < duration)
            heapq.heappush(self._heap, (end, self._arrivals, event))
            self._arrivals += 1

    def _duration(self, job: Job) -> float:
        parent = self._store.committed(job.start_from) if job.start_from is not None else None
        start = parent.job.resource if parent is not None else 0
        if self._timed is not None:
            seconds = self._timed.seconds(job, start)
        else:
            seconds = max(0, job.resource - start) * (self._options.unit_seconds or 1.0)
        std = self._options.straggler_std
        return seconds * (1 + abs(self._rng.gauss(0, std))) if std else seconds

    def _too_late(self, job: Job, duration: float) -> str:
        options = self._options
        return (
            f"simulated engine: job {tuple(job.key)} begins after {self.now:g} virtual seconds and takes {duration:g}, "
            f"which goes beyond {_END:g}, the end of all dates; make the times smaller: "
            f"unit_seconds is {options.unit_seconds}, straggler_std {options.straggler_std}"
        )

    def _time_to_drop(self) -> float:
        # Exponential with P(survives t) = (1 - p)^t, which at whole seconds is a coin of p tossed every second.
        p = self._options.drop_probability
        return self._rng.expovariate(-math.log1p(-p)) if p else math.inf

    def _lose(self, event: _Event) -> Result:
        reason = f"{_name(event.worker)} vanished (simulated)"
        result = replace(self._stamp(Result(event.job, "lost", error=reason), event), executor="")
        self._losses[event.job.key] = result.attempt
        self.lost += 1
        return result

    def _finish(self, event: _Event) -> Result:
        stored = self._store.committed(event.job.key)
        if stored is not None and stored.job == event.job:
            return stored
        if stored is not None:
            return self._stamp(Result(event.job, "failed", error=describe(of_another(stored))), event)
        workspace = _Workspace(event.job, self._store)
        try:
            outcome = self._evaluator.evaluate(event.job, workspace)
        except (Exception, SystemExit) as error:  # the job's edge: whatever an evaluator raises is a failed result
            failed = Result(event.job, "failed", curve=tuple(workspace.curve), error=describe(error))
            return self._stamp(failed, event)
        curve = outcome.curve or tuple(workspace.curve)
        result = Result(event.job, "completed", outcome.loss, outcome.metrics, curve, derived=outcome.derived)
        return self._store.commit(self._stamp(result, event), workspace.saved)

    def _stamp(self, result: Result, event: _Event) -> Result:
        return replace(
            result,
            started_at=_EPOCH + timedelta(seconds=event.started),
            seconds=self.now - event.started,
            executor=_name(event.worker),
            attempt=self._losses.get(event.job.key, 0) + 1,
        )


class MemoryStore:
    """Commits of one run in this process's memory; enough where nothing has to survive it."""

    def __init__(self) -> None:
        self._commits: dict[JobKey, tuple[Result, bytes | None]] = {}
        self._kept: dict[JobKey, bytes] = {}
        self._name = uuid.uuid4().hex

    def committed(self, key: JobKey) -> Result | None:
        """The committed result of a job, or None."""
        commit = self._commits.get(key)
        return commit[0] if commit is not None else None

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        """Keep a result with its checkpoint; the first one wins."""
        self._kept.pop(result.job.key, None)
        return self._commits.setdefault(result.job.key, (result, checkpoint))[0]

    def checkpoint(self, key: JobKey) -> bytes:
        """The checkpoint a committed job left. Raises JobError when there is none."""
        checkpoint = self._commits.get(key, (None, None))[1]
        if checkpoint is None:
            raise JobError(f"job {tuple(key)} left no checkpoint")
        return checkpoint

    def origin(self, key: JobKey) -> str:
        """This store's own name, and the job's."""
        return f"memory:{self._name}/{key.trial_id}/{key.rung}"

    def keep(self, key: JobKey, state: bytes) -> None:
        """Keep a recovery checkpoint until the job is committed."""
        if key not in self._commits:
            self._kept[key] = state

    def kept(self, key: JobKey) -> bytes | None:
        """The recovery checkpoint of a job that is not committed."""
        return self._kept.get(key)


class _Workspace:
    """What an evaluator may touch here: one CPU thread, checkpoints, no time limit, and nothing to recover.

    A simulated job is evaluated at the moment it ends, so no attempt ever stops in its middle.
    """

    device = "cpu"
    threads = 1

    def __init__(self, job: Job, store: JobStore) -> None:
        self._job, self._store = job, store
        self.saved: bytes | None = None
        self.curve: list[CurvePoint] = []

    def load(self) -> bytes | None:
        return self._store.checkpoint(self._job.start_from) if self._job.start_from is not None else None

    def origin(self) -> str | None:
        return self._store.origin(self._job.start_from) if self._job.start_from is not None else None

    def save(self, checkpoint: bytes) -> None:
        self.saved = checkpoint

    def recover(self) -> bytes | None:
        return None

    def keep(self, state: Callable[[], bytes]) -> None:
        pass

    def report(self, point: CurvePoint) -> None:
        self.curve.append(point)

    def check_time(self) -> None:
        """Virtual time stands still while a job is evaluated."""


def _name(worker: int) -> str:
    return f"worker-{worker:03d}"
