"""Asynchronous search by worker sessions: each slot is one single-task Spark job after another (DESIGN.md 5).

A session runs a batch of jobs, one after the other, in a Python worker that stays warm. When it lands, the driver
tells the scheduler and the slot takes what is next, whatever the other slots do. Batches are settled when a session
starts and grow while jobs are short (`batching`); a channel to the driver would replace the feed (`worker.Feed`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spark_nas.engines.attempts import Attempts
from spark_nas.engines.batching import AutoBatch
from spark_nas.engines.launcher import Launcher
from spark_nas.engines.session import Session, slots_of
from spark_nas.engines.task import Limits
from spark_nas.engines.worker import Assignment, Payload
from spark_nas.errors import OptionError
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Job, Result

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class SparkAsync:
    """Options of the asynchronous Spark engine."""

    slots: int | None = None
    """Worker sessions at the same time; None takes as many as the cluster can run."""
    batch_seconds: float = 1.0
    """How long a batch of short jobs should last; 0 gives every session one job."""
    max_batch: int = 1000
    """The most jobs of one batch."""
    time_limit: float | None = None
    """Seconds of wall time that a job may take; None for no limit."""
    require_gpu: bool = False
    """Whether a job that was given no usable GPU fails instead of running on the CPU."""
    spark: Session = field(default_factory=Session)
    """How the engine comes by its Spark session."""

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise OptionError("slots", self.slots, "give at least 1, or leave it out")
        if not self.batch_seconds >= 0:
            raise OptionError("batch_seconds", self.batch_seconds, "give at least 0")
        if self.max_batch < 1:
            raise OptionError("max_batch", self.max_batch, "give at least 1")
        Limits(self.time_limit)

    def build(
        self, evaluator: Evaluator, store: JobStore | None = None, spark: SparkSession | None = None
    ) -> SparkAsyncEngine:
        """The engine, in the given session or the one that `self.spark` opens. Raises ClusterError."""
        session, ours = (spark, False) if spark is not None else self.spark.open()
        return SparkAsyncEngine(evaluator, self, store=store, session=session, ours=ours)


class SparkAsyncEngine:
    """Keeps every slot busy while there are jobs; `wait` returns what the next session brings home.

    With two slots and jobs a (long), b, c (short), submitted together: wait() == [b], wait() == [c], wait() == [a]
    """

    def __init__(
        self, evaluator: Evaluator, options: SparkAsync, *, store: JobStore | None, session: SparkSession, ours: bool
    ) -> None:
        self._session, self._ours = session, ours
        self._sessions = slots_of(session, options.slots, options.spark.wait_seconds)
        payload = Payload.pack(evaluator, store, Limits(options.time_limit), options.require_gpu)
        self._launcher = Launcher(session, payload, store, threads=self._sessions, description="spark_nas session")
        self._batching = AutoBatch(options.batch_seconds, options.max_batch)
        self._attempts = Attempts()
        self._pending: deque[Assignment] = deque()
        self._flying = 0

    @property
    def slots(self) -> int:
        """Sessions times the size of a batch: grows while jobs turn out to be short."""
        return self._sessions * self._batching.size

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start jobs on idle slots; the rest wait for one."""
        self._pending.extend(Assignment(job, self._attempts.next(job)) for job in jobs)
        self._fill()

    def wait(self, timeout: float | None = None) -> list[Result]:
        """The results of the next session to end. Raises ClusterError if executors cannot run jobs at all."""
        if not self._flying:
            raise ValueError("nothing is in flight")
        landing = self._launcher.landing(timeout)
        if landing is None:
            return []
        self._flying -= 1
        if all(result.status != "lost" for result in landing.results):
            self._batching.observe(landing.results)
        self._fill()
        return list(landing.results)

    def close(self) -> None:
        """Cancel what runs, give the slots back; stop Spark if it was started here."""
        self._pending.clear()
        self._flying = 0
        self._launcher.close()
        if self._ours:
            self._session.stop()

    def _fill(self) -> None:
        while self._pending and self._flying < self._sessions:
            self._launcher.launch([self._batching.take(self._pending, self._sessions - self._flying)])
            self._flying += 1
