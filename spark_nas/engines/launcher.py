"""Driver threads that run Spark jobs of ours: one flight each, from take-off to its results.

A flight is one Spark job: a partition for each of its batches. It always lands, with one result for every job on
board; those that Spark could not finish are `lost`, with Spark's reason.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from spark_nas.engines.session import is_connect
from spark_nas.engines.task import describe
from spark_nas.engines.worker import RESULT_SCHEMA, Assignment, Feed, FixedBatches, Payload, run_partition
from spark_nas.errors import ClusterError
from spark_nas.search.protocols import JobStore
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.wire import result_from_json

if TYPE_CHECKING:
    from threading import Thread

    from pyspark.sql import SparkSession

_RELAUNCHES = 8
_JOIN_SECONDS = 10.0
_FAILED_TASK = re.compile(r"Task (\d+) in stage \S+ failed")

Batches = Sequence[Sequence[Assignment]]


@dataclass(frozen=True, slots=True)
class Landing:
    """What came of a flight."""

    results: tuple[Result, ...]
    """One for each job, in the order of the batches."""
    trouble: ClusterError | None = None
    """Set when no task of this engine ever ran and none can: the search must stop and say so."""


class Launcher:
    """`threads` driver threads, each flying one Spark job at a time; landings come in the order of completion."""

    def __init__(
        self, session: SparkSession, payload: Payload, store: JobStore | None, *, threads: int, description: str
    ) -> None:
        self._session, self._payload, self._store = session, payload, store
        self._description = description
        self._group = f"spark-nas-{uuid.uuid4().hex[:12]}"
        self._flights: SimpleQueue[Batches | None] = SimpleQueue()
        self._landed: SimpleQueue[Landing] = SimpleQueue()
        self._worked = self._closed = False
        self._threads = [_thread(session, self._serve) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def launch(self, batches: Batches) -> None:
        """Start a flight, as soon as a thread is free."""
        self._flights.put(batches)

    def landing(self, timeout: float | None = None) -> Landing | None:
        """The next landing; None when `timeout` seconds pass without one.

        Raises ClusterError for trouble that no second try will mend.
        """
        try:
            landing = self._landed.get(timeout=timeout)
        except Empty:
            return None
        if landing.trouble is not None:
            raise landing.trouble
        return landing

    def close(self) -> None:
        """Cancel what flies and end the threads. Idempotent."""
        if self._closed:
            return
        self._closed = True
        while True:
            try:
                self._flights.get_nowait()
            except Empty:
                break
        for _ in self._threads:
            self._flights.put(None)
        _cancel(self._session, self._group)
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)

    def _serve(self) -> None:
        while (batches := self._flights.get()) is not None:
            try:
                landing = self._fly(batches)
            except Exception as error:  # a landing must come whatever happens, or `wait` would block for ever
                landing = Landing((), ClusterError(f"the Spark engine failed: {describe(error)}"))
            self._landed.put(landing)

    def _fly(self, batches: Batches) -> Landing:
        """Run a flight; when a task's death ends its Spark job, run the innocent partitions again without it."""
        board = [list(batch) for batch in batches]
        found: dict[JobKey, Result] = {}
        for _ in range(1 + _RELAUNCHES):
            try:
                rows = self._run(board)
            except Exception as error:
                if not _is_sparks(error) or (not self._worked and _is_python_error(error)):
                    return Landing((), _cannot_run(error))
                found |= self._committed(board, found)
                found |= {j.key: _lost(j, n, error) for j, n in self._suspects(error, board, found)}
                board = [rest for batch in board if (rest := [a for a in batch if a.job.key not in found])]
                if not board:
                    break
            else:
                self._worked = True
                found |= {result.job.key: result for result in map(result_from_json, rows)}
                break
        return Landing(tuple(_found(found, job, attempt) for batch in batches for job, attempt in batch))

    def _run(self, board: Batches) -> list[str]:
        """One stage, one partition a batch, one action."""
        feed: Feed = FixedBatches.pack(board)
        jobs = sum(map(len, board))
        _label(self._session, self._group, f"{self._description}: {jobs} job{'s' * (jobs != 1)}")
        table = self._session.range(0, len(board), 1, len(board))
        rows = table.mapInArrow(partial(run_partition, self._payload, feed), RESULT_SCHEMA).collect()
        return [row[0] for row in rows]

    def _suspects(self, error: Exception, board: Batches, found: Mapping[JobKey, Result]) -> list[Assignment]:
        """Who may have ended the Spark job: of the batch whose task Spark gave up, the first without a commit."""
        match = None if self._closed else _FAILED_TASK.search(str(error))
        known = match is not None and int(match[1]) < len(board)
        batches = [board[int(match[1])]] if match is not None and known else board
        unfinished = [assignment for batch in batches for assignment in batch if assignment.job.key not in found]
        return unfinished[:1] if known and self._store is not None else unfinished

    def _committed(self, board: Batches, found: dict[JobKey, Result]) -> dict[JobKey, Result]:
        """What a failed Spark job has nevertheless finished: the commits are what counts."""
        if self._store is None:
            return {}
        try:
            stored = [self._store.committed(job.key) for batch in board for job, _ in batch if job.key not in found]
        except Exception:  # an unreachable store finds nothing; the jobs come back lost, with Spark's own reason
            return {}
        return {result.job.key: result for result in stored if result is not None}


def _is_sparks(error: Exception) -> bool:
    """Whether Spark failed; anything else is a fault on the driver that no second try will mend."""
    return type(error).__module__.split(".")[0] in ("pyspark", "py4j", "grpc")


def _is_python_error(error: Exception) -> bool:
    """Whether Python code of ours raised on an executor: never a job's doing, as `run_job` never raises."""
    return type(error).__name__ == "PythonException" and "exited unexpectedly" not in str(error)


def _cannot_run(error: Exception) -> ClusterError:
    reason = next((line for line in reversed(str(error).strip().splitlines()) if line.strip()), "unknown")
    if not _is_sparks(error):
        return ClusterError(f"Spark jobs cannot be submitted: {type(error).__name__}: {reason.strip()}")
    return ClusterError(
        f"executors cannot run spark_nas: {reason.strip()}: install the same Python, spark_nas and what the "
        "evaluator imports on them, or ship it with --py-files or --archives"
    )


def _lost(job: Job, attempt: int, error: Exception) -> Result:
    reason = _FAILED_TASK.search(str(error))
    what = f"Spark gave its task up ({reason[0]})" if reason else "its Spark job ended"
    return Result(job, "lost", error=f"{what}: {describe(error)}", attempt=attempt)


def _found(found: dict[JobKey, Result], job: Job, attempt: int) -> Result:
    missing = "its Spark job ended without its result"
    return found.get(job.key) or Result(job, "lost", error=missing, attempt=attempt)


def _thread(session: SparkSession, target: Callable[[], None]) -> Thread:
    from pyspark import InheritableThread

    # Any: 3.5 knows no `session`, and Spark Connect cannot do without it
    more: dict[str, Any] = {"session": session} if is_connect(session) else {}
    return InheritableThread(target=target, daemon=True, **more)


def _label(session: SparkSession, group: str, description: str) -> None:
    """Mark the Spark jobs of this thread, for the UI and for cancelling."""
    if is_connect(session):
        session.addTag(group)
    else:
        session.sparkContext.setJobGroup(group, description, interruptOnCancel=True)


def _cancel(session: SparkSession, group: str) -> None:
    if is_connect(session):
        session.interruptTag(group)
    elif session.sparkContext._jsc is not None:
        session.sparkContext.cancelJobGroup(group)
