"""Rounds as map/reduce: the jobs of a round are one Spark stage, a partition each, and one action.

No shuffle and no second action can train anything twice; a round is as long as its longest job. For schedulers
that decide after whole rounds (successive halving, Hyperband, full training).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from spark_nas.engines.attempts import Attempts
from spark_nas.engines.executors import wait_for_executors
from spark_nas.engines.launcher import Launcher
from spark_nas.engines.limits import Limits
from spark_nas.engines.session import Session, stage_profile, stop_session
from spark_nas.engines.worker import Assignment, Payload
from spark_nas.errors import OptionError
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Job, Result

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class SparkRounds:
    """Options of the engine of Spark rounds."""

    whole_rounds: ClassVar[bool] = True
    """A stage returns as a whole: schedulers that decide after each result gain nothing here and are refused."""

    max_jobs: int = 10_000
    """The most jobs, and so tasks, of one stage; a longer round runs as several stages."""
    time_limit: float | None = None
    """Seconds of wall time that a job may take; None for no limit. One that hangs for longer is failed, and its Python
    worker killed."""
    checkpoint_seconds: float | None = 60.0
    """Seconds between the recovery checkpoints of a job, written at the end of an epoch: what a job that dies may lose
    and train again. None writes none."""
    require_gpu: bool = False
    """Whether a job that was given no usable GPU fails instead of running on the CPU."""
    spark: Session = field(default_factory=Session)
    """How the engine comes by its Spark session."""

    def __post_init__(self) -> None:
        if self.max_jobs < 1:
            raise OptionError("max_jobs", self.max_jobs, "give at least 1")
        Limits(self.time_limit, self.checkpoint_seconds)

    def build(
        self, evaluator: Evaluator, store: JobStore | None = None, spark: SparkSession | None = None
    ) -> SparkRoundsEngine:
        """The engine, in the given session or the one that `self.spark` opens. Raises ClusterError."""
        session, ours = (spark, False) if spark is not None else self.spark.open()
        try:
            return self._engine(evaluator, store, session, ours)
        except BaseException:
            if ours:
                stop_session(session)
            raise

    def _engine(
        self, evaluator: Evaluator, store: JobStore | None, session: SparkSession, ours: bool
    ) -> SparkRoundsEngine:
        return SparkRoundsEngine(evaluator, self, store=store, session=session, ours=ours)


class SparkRoundsEngine:
    """Runs what is submitted together as one stage; `wait` returns the whole of it.

    submit(round of 81); wait() == 81 results in the order of submission
    """

    def __init__(
        self, evaluator: Evaluator, options: SparkRounds, *, store: JobStore | None, session: SparkSession, ours: bool
    ) -> None:
        self._options, self._session, self._ours = options, session, ours
        profile = stage_profile(session, options.spark.profile)
        wait_for_executors(session, options.spark.wait_seconds, profile)
        payload = Payload.pack(
            evaluator, store, Limits(options.time_limit, options.checkpoint_seconds), options.require_gpu
        )
        patience = options.spark.wait_seconds
        self._launcher = Launcher(
            session, payload, store, threads=1, description="spark_nas round", profile=profile, patience=patience
        )
        self._attempts = Attempts()
        self._flying = 0

    @property
    def slots(self) -> int:
        """A whole round, however few its executors."""
        return self._options.max_jobs

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start the round."""
        board = [[Assignment(job, self._attempts.next(job))] for job in jobs]
        for start in range(0, len(board), self._options.max_jobs):
            self._launcher.launch(board[start : start + self._options.max_jobs])
            self._flying += 1

    def wait(self, timeout: float | None = None) -> list[Result]:
        """Results of the next stage. Raises ClusterError if executors can run no job, ClusterLost if Spark is gone."""
        if not self._flying:
            raise ValueError("nothing is in flight")
        landing = self._launcher.landing(timeout)
        if landing is None:
            return []
        self._flying -= 1
        return list(landing.results)

    def close(self) -> None:
        """Cancel what runs; stop Spark if it was started here. Takes some seconds at the most, whatever Spark does."""
        self._flying = 0
        answers = self._end_flights()
        if self._ours:
            stop_session(self._session, answers=answers)

    def _end_flights(self) -> bool:
        """Cancel what runs; whether Spark has answered."""
        return self._launcher.close()
