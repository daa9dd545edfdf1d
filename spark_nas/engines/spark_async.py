"""Asynchronous search by worker sessions: each slot is one single-task Spark job after another (docs/decisions/0012).

A session runs one job after the other in a Python worker that stays warm, whatever the other slots do. With the
channel (`pulling`) it asks the driver for the next as long as it lasts. Without, its jobs are a batch that is settled
when it starts and grows while jobs are short (`batching`); when it lands, the slot takes what is next.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from spark_nas.engines.attempts import Attempts
from spark_nas.engines.batching import AutoBatch, Lookahead
from spark_nas.engines.channel.records import Terms
from spark_nas.engines.executors import slots_of
from spark_nas.engines.launcher import Launcher
from spark_nas.engines.limits import Limits
from spark_nas.engines.pulling import PullingEngine, Spark
from spark_nas.engines.session import Session, is_connect, stage_profile, stop_session
from spark_nas.engines.worker import Assignment, Payload
from spark_nas.errors import OptionError
from spark_nas.search.protocols import Engine, Evaluator, JobStore
from spark_nas.search.records import Job, Result

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


_LINE = 2
"""Batches of short jobs in line for each session: one that runs, and one that Spark starts when it has ended."""
_GATHER_SECONDS = 3.0


@dataclass(frozen=True)
class SparkAsync:
    """Options of the asynchronous Spark engine."""

    slots: int | None = None
    """Worker sessions at the same time; None takes as many as the cluster can run."""
    channel: bool | Literal["auto", "on", "off"] = "auto"
    """Whether sessions ask the driver for jobs over a socket of their own (docs/channel.md); off opens none. auto:
    where there is a SparkContext, that is, not through Spark Connect. YAML reads a bare on or off as true or false."""
    channel_port: int = 0
    """The port that the driver listens on for its sessions; 0 takes any free one."""
    idle_seconds: float = 60.0
    """After so long without a job a session ends, and gives its slot back to the cluster. With the channel."""
    lease_seconds: float | None = None
    """After so long a session ends between two jobs, so that others' work gets its turn; None: never. With the
    channel."""
    silence_seconds: float = 60.0
    """A session of which nothing is heard for so long is given up, and its jobs go to others. With the channel."""
    batch_seconds: float = 1.0
    """How much work a session may be given at once: short jobs in batches, longer ones alone. 0: always one job.
    Without the channel, and where `slots` are all of the cluster's, the next batch is in line behind it."""
    max_batch: int = 1000
    """The most jobs that a session is given at once."""
    time_limit: float | None = None
    """Seconds of wall time that a job may take; None for no limit. One that hangs for longer is failed, and its Python
    worker killed."""
    checkpoint_seconds: float | None = 60.0
    """Seconds between the recovery checkpoints of a job, written at the end of an epoch: what a job that dies may lose
    and train again. None writes none."""
    commit_seconds: float = 1.0
    """A job that leaves no checkpoint and took less time is committed by its row alone: where a driver or a worker
    dies, such jobs may be run again. 0 commits every job by itself, at once."""
    require_gpu: bool = False
    """Whether a job that was given no usable GPU fails instead of running on the CPU."""
    spark: Session = field(default_factory=Session)
    """How the engine comes by its Spark session."""

    def __post_init__(self) -> None:
        if self.slots is not None and self.slots < 1:
            raise OptionError("slots", self.slots, "give at least 1, or leave it out")
        if isinstance(self.channel, bool):
            object.__setattr__(self, "channel", "on" if self.channel else "off")
        if self.channel not in ("auto", "on", "off"):
            raise OptionError("channel", self.channel, "give auto, on or off")
        if not 0 <= self.channel_port < 2**16:
            raise OptionError("channel_port", self.channel_port, "give a port, or 0 for any free one")
        for name in ("idle_seconds", "lease_seconds", "silence_seconds"):
            seconds = getattr(self, name)
            if seconds is not None and not seconds > 0:
                raise OptionError(name, seconds, "give seconds greater than 0")
        if not self.batch_seconds >= 0:
            raise OptionError("batch_seconds", self.batch_seconds, "give at least 0")
        if self.max_batch < 1:
            raise OptionError("max_batch", self.max_batch, "give at least 1")
        self._limits()

    def build(self, evaluator: Evaluator, store: JobStore | None = None, spark: SparkSession | None = None) -> Engine:
        """The engine, in the given session or the one that `self.spark` opens.

        Raises ClusterError, and OptionError for a channel where there can be none.
        """
        session, ours = (spark, False) if spark is not None else self.spark.open()
        try:
            return self._engine(evaluator, store, session, ours)
        except BaseException:
            if ours:
                stop_session(session)
            raise

    def _limits(self) -> Limits:
        return Limits(self.time_limit, self.checkpoint_seconds, commit_seconds=self.commit_seconds)

    def _engine(self, evaluator: Evaluator, store: JobStore | None, session: SparkSession, ours: bool) -> Engine:
        if is_connect(session) and self.channel == "on":
            raise OptionError(
                "channel", "on", "executors cannot reach this driver through Spark Connect; set auto or off"
            )
        profile = stage_profile(session, self.spark.profile)
        slots = slots_of(session, self.slots, self.spark.wait_seconds, profile)
        payload = Payload.pack(evaluator, store, self._limits(), self.require_gpu)
        if self.channel == "off" or is_connect(session):
            # Spark queues what is submitted ahead; only where all of the cluster is ours anyway do slots stay as many.
            line = _LINE if self.slots is None and not is_connect(session) else 1
            launcher = Launcher(
                session,
                payload,
                store,
                threads=slots * line,
                description="spark_nas session",
                profile=profile,
                patience=self.spark.wait_seconds,
                seconds=self.batch_seconds or None,
                sparing=self.commit_seconds > 0,
            )
            batching = AutoBatch(self.batch_seconds, self.max_batch)
            return BatchingEngine(session, launcher, batching, slots=slots, line=line, ours=ours)
        lookahead = Lookahead(slots, self.batch_seconds, self.max_batch)
        terms = Terms(self.idle_seconds, self.lease_seconds, self.silence_seconds, _GATHER_SECONDS)
        return PullingEngine(
            Spark(session, profile, ours),
            payload,
            lookahead,
            terms,
            slots=slots,
            port=self.channel_port,
            store=store,
        )


class BatchingEngine:
    """Keeps every slot busy while there are jobs; `wait` returns what the next session brings home.

    With two slots and jobs a (long), b, c (short), submitted together: wait() == [b], wait() == [c], wait() == [a]
    """

    def __init__(
        self,
        session: SparkSession,
        launcher: Launcher,
        batching: AutoBatch,
        *,
        slots: int,
        line: int,
        ours: bool,
    ) -> None:
        """`slots` sessions at a time, of short batches up to `line` times as many submitted to Spark.

        `ours`: whether the Spark session ends with the engine.
        """
        self._session, self._ours, self._sessions, self._batching = session, ours, slots, batching
        self._line = line
        self._launcher = launcher
        self._attempts = Attempts()
        self._pending: deque[Assignment] = deque()
        self._flying = 0
        self._warm: bool | None = None
        """Whether Python has started, and the evaluator been loaded, on every slot; None: nobody has asked for it."""

    @property
    def slots(self) -> int:
        """Flights times the size of a batch: grows while jobs turn out to be short."""
        return self._flights * self._batching.size

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start jobs on idle slots; the rest wait for one."""
        self._pending.extend(Assignment(job, self._attempts.next(job)) for job in jobs)
        if self._warm is None:
            # All sessions at once, as one Spark job of tasks without a job: short jobs would else be shared unevenly.
            self._warm = False
            self._launcher.launch([[]] * self._sessions)
            self._flying = 1
        self._fill()

    def wait(self, timeout: float | None = None) -> list[Result]:
        """The results of the next session to end. Raises ClusterError if executors cannot run jobs at all."""
        if not self._flying:
            raise ValueError("nothing is in flight")
        end = math.inf if timeout is None else time.monotonic() + timeout
        landing = self._launcher.landing(timeout)
        if landing is not None and not self._warm:
            self._warm, self._flying = True, 0
            self._fill()
            landing = self._launcher.landing(None if end == math.inf else max(0.0, end - time.monotonic()))
        if landing is None:
            return []
        self._flying -= 1
        if all(result.status != "lost" for result in landing.results):
            self._batching.observe(landing.results)
        self._pending.extendleft(reversed(landing.not_started))
        self._fill()
        return list(landing.results)

    def close(self) -> None:
        """Cancel what runs, give the slots back; stop Spark if it was started here."""
        self._pending.clear()
        self._flying = 0
        answers = self._launcher.close()
        if self._ours:
            stop_session(self._session, answers=answers)

    @property
    def _flights(self) -> int:
        """How many Spark jobs to keep submitted: long jobs are decided on as late as possible, and wait for none."""
        return self._sessions * (self._line if self._batching.size > 1 else 1)

    def _fill(self) -> None:
        while self._warm and self._pending and self._flying < self._flights:
            self._launcher.launch([self._batching.take(self._pending, self._flights - self._flying)])
            self._flying += 1
