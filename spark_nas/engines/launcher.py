"""Driver threads that run Spark jobs of ours: one flight each, from take-off to its results.

A flight is one Spark job: a partition for each of its batches. It always lands, with one result for every job on
board; those that Spark could not finish are `lost`, with Spark's reason.
"""

from __future__ import annotations

import contextlib
import math
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING

from spark_nas.engines.bounded import bounded
from spark_nas.engines.connect import check_answers
from spark_nas.engines.descriptions import as_tag, describe_jobs, is_tag, of_run
from spark_nas.engines.flight import Batches, Flight
from spark_nas.engines.profiles import map_arguments
from spark_nas.engines.session import is_connect
from spark_nas.engines.spark_errors import has_stopped, is_gone, is_python_error, is_refused, is_sparks, trouble
from spark_nas.engines.task import describe
from spark_nas.engines.worker import RESULT_SCHEMA, Assignment, Feed, FixedBatches, Payload, run_partition
from spark_nas.errors import ClusterError, ClusterLost, SparkNasError
from spark_nas.search.protocols import JobStore
from spark_nas.search.records import JobKey, Result

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

_CLOSE_SECONDS = 10.0
_CANCEL_AGAIN_SECONDS = 0.5
_PULSE_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Landing:
    """What came of a flight."""

    results: tuple[Result, ...]
    """One for each job, in the order of the batches."""
    not_started: tuple[Assignment, ...] = ()
    """Those that the time of their batch was too short for; they have no result."""
    trouble: SparkNasError | None = None
    """Set when no task of this engine ever ran and none can, or Spark is gone: the search must stop and say so."""


class Launcher:
    """`threads` driver threads, each flying one Spark job at a time; landings come in the order of completion."""

    def __init__(
        self,
        session: SparkSession,
        payload: Payload,
        store: JobStore | None,
        *,
        threads: int,
        description: str,
        profile: ResourceProfile | None = None,
        patience: float = 60.0,
        seconds: float | None = None,
        sparing: bool = False,
    ) -> None:
        """`patience`: how many seconds a Spark Connect server may leave a call without an answer.

        `seconds`: how long a batch may go on beginning jobs; `sparing`: whether short jobs may leave their commit to
        the driver's row, as long as nothing dies.
        """
        self._session, self._payload, self._store = session, payload, store
        self._seconds, self._sparing = seconds, sparing and store is not None
        self._description, self._more, self._patience = of_run(description), map_arguments(profile), patience
        self._group = f"spark-nas-{uuid.uuid4().hex[:12]}"
        self._flights: SimpleQueue[Batches | None] = SimpleQueue()
        self._landed: SimpleQueue[Landing] = SimpleQueue()
        # A JVM that ends fails its calls at once; a Connect client goes on calling a server that is gone.
        self._pulse = time.monotonic() + _PULSE_SECONDS if is_connect(session) else math.inf
        self._worked = self._closed = self._gone = False
        self._suspects: set[JobKey] = set()
        self._threads = [_thread(session, self._serve) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def launch(self, batches: Batches) -> None:
        """Start a flight, as soon as a thread is free."""
        self._flights.put(batches)

    def landing(self, timeout: float | None = None) -> Landing | None:
        """The next landing; None when `timeout` seconds pass without one.

        Raises ClusterError for trouble that no second try will mend, ClusterLost when Spark is gone.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            left = max(0.0, min(end, self._pulse) - time.monotonic())
            try:
                landing = self._landed.get(timeout=None if left == math.inf else left)
                break
            except Empty:
                if time.monotonic() >= self._pulse:
                    self._check_answers()
                if time.monotonic() >= end:
                    return None
        if landing.trouble is not None:
            raise landing.trouble
        return landing

    def _check_answers(self) -> None:
        try:
            check_answers(self._session, self._patience)
        except ClusterLost:
            self._gone = True
            raise
        self._pulse = time.monotonic() + _PULSE_SECONDS

    def close(self) -> bool:
        """Cancel what flies and end the threads, in ten seconds at the most, whatever Spark does. Idempotent.

        Returns whether all have ended; Spark has stopped answering where they have not.
        """
        if not self._closed:
            self._closed = True
            self._end()
        return not any(thread.is_alive() for thread in self._threads)

    def _end(self) -> None:
        while True:
            try:
                self._flights.get_nowait()
            except Empty:
                break
        for _ in self._threads:
            self._flights.put(None)
        # Threads that call a server that is gone cannot be called back; they do not keep the process from ending.
        end = time.monotonic() + (0.0 if self._gone else _CLOSE_SECONDS)
        cancel = True
        while (flying := [t for t in self._threads if t.is_alive()]) and (left := end - time.monotonic()) > 0:
            # Again and again: a flight that was just taking off had nothing yet to cancel.
            if cancel:
                cancel = _cancel(self._session, self._group, left)
            flying[0].join(min(_CANCEL_AGAIN_SECONDS, left))

    def _serve(self) -> None:
        while (batches := self._flights.get()) is not None:
            try:
                landing = self._fly(batches)
            except Exception as error:  # a landing must come whatever happens, or `wait` would block for ever
                landing = Landing((), trouble=ClusterError(f"the Spark engine failed: {describe(error)}"))
            self._landed.put(landing)

    def _fly(self, batches: Batches) -> Landing:
        """Run a flight; when a task's death ends its Spark job, run the others again without it."""
        careful, has_commits = not self._sparing, self._store is not None
        flight = Flight(batches, self._suspects, careful=careful, has_commits=has_commits)
        while (board := flight.board) is not None and not self._closed:
            try:
                rows = self._run(board, flight.careful)
            except Exception as error:
                stopped = has_stopped(None if is_connect(self._session) else self._session.sparkContext)
                if stopped or self._is_hopeless(error):
                    return Landing((), trouble=trouble(error, stopped=stopped))
                flight.failed(error, self._committed(board, flight.found))
            else:
                self._worked = True
                flight.landed(rows)
        self._suspects |= flight.suspects
        return Landing(flight.results(), flight.not_started())

    def _run(self, board: Batches, careful: bool) -> list[str]:
        doing = describe_jobs(assignment.job for batch in board for assignment in batch)
        label(self._session, self._group, f"{self._description}: {doing}")
        return self._collect(board, careful)

    def _collect(self, board: Batches, careful: bool) -> list[str]:
        """One stage, one partition a batch, one action."""
        feed: Feed = FixedBatches.pack(board, careful=careful, seconds=self._seconds)
        table = self._session.range(0, len(board), 1, len(board))
        rows = table.mapInArrow(partial(run_partition, self._payload, feed), RESULT_SCHEMA, **self._more).collect()
        return [row[0] for row in rows]

    def _is_hopeless(self, error: Exception) -> bool:
        """Whether no second try will mend it: the driver's own fault, Spark gone, or nothing of ours ever ran."""
        if not is_sparks(error) or is_gone(error):
            return True
        return not self._worked and (is_python_error(error) or is_refused(error))

    def _committed(self, board: Batches, found: dict[JobKey, Result]) -> dict[JobKey, Result]:
        """What a failed Spark job has nevertheless finished: the commits are what counts."""
        if self._store is None:
            return {}
        try:
            jobs = [job for batch in board for job, _ in batch if job.key not in found]
            stored = [(job, self._store.committed(job.key)) for job in jobs]
        except Exception:  # an unreachable store finds nothing; the jobs come back lost, with Spark's own reason
            return {}
        # Another job's is none of this one's: `run_job` says so when the job is run again.
        return {job.key: result for job, result in stored if result is not None and result.job == job}


def _thread(session: SparkSession, target: Callable[[], None]) -> Thread:
    """A thread whose Spark jobs carry what the caller has set for its own: properties, or tags on Spark Connect."""
    if not is_connect(session):
        from pyspark import InheritableThread

        return InheritableThread(target=target, daemon=True)
    tags = session.getTags()

    def tagged() -> None:
        for tag in tags:
            session.addTag(tag)
        target()

    return Thread(target=tagged, daemon=True)


def label(session: SparkSession, group: str, description: str) -> None:
    """Mark the Spark jobs of this thread, for the UI and for cancelling. Raises ConnectionError after Spark's stop."""
    if is_connect(session):
        for old in list(session.getTags()):  # it is the live set
            if is_tag(old):
                session.removeTag(old)
        session.addTag(group)
        session.addTag(as_tag(description))
    elif session.sparkContext._jsc is None:  # pyspark would say that None has no such attribute
        raise ConnectionError("its SparkContext was stopped")
    else:
        session.sparkContext.setJobGroup(group, description, interruptOnCancel=True)


def _cancel(session: SparkSession, group: str, seconds: float) -> bool:
    """Whether Spark has taken the order to cancel: one that is gone, or says nothing, need not be asked again."""

    def cancel() -> None:
        if is_connect(session):
            session.interruptTag(group)
        elif session.sparkContext._jsc is not None:
            session.sparkContext.cancelJobGroup(group)

    with contextlib.suppress(Exception):
        bounded(cancel, seconds)
        return True
    return False
