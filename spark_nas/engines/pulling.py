"""The asynchronous Spark engine with the channel: sessions that pull, one queue, results as soon as they are there."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Sequence
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, NamedTuple

from spark_nas.engines.attempts import Attempts
from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.client import Door
from spark_nas.engines.channel.dispatch import Dispatcher
from spark_nas.engines.channel.handshake import KEY_BYTES
from spark_nas.engines.channel.records import Arrival, Ending, Terms
from spark_nas.engines.channel.server import Server
from spark_nas.engines.profiles import map_arguments
from spark_nas.engines.session import stop_session
from spark_nas.engines.sessions import Sessions, driver_address
from spark_nas.engines.worker import Assignment, Payload
from spark_nas.errors import ClusterError, UsageError
from spark_nas.search.protocols import JobStore
from spark_nas.search.records import Job, Result
from spark_nas.search.wire import result_from_json

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession


class Spark(NamedTuple):
    """Where the sessions run."""

    session: SparkSession
    profile: ResourceProfile | None
    """What their tasks ask for; None for the cluster's default."""
    ours: bool
    """Whether the Spark session ends with the engine."""


class PullingEngine:
    """Keeps every session supplied; `wait` returns all results that have come, so that rows are appended in groups.

    submit([a, b, c]); wait() == [b]; wait() == [c, a]
    """

    def __init__(
        self,
        spark: Spark,
        payload: Payload,
        lookahead: Lookahead,
        terms: Terms,
        *,
        slots: int,
        port: int,
        store: JobStore | None,
    ) -> None:
        """`slots` sessions at the most. Raises ClusterError."""
        self._spark, self._store = spark, store
        self._slots, self._lookahead = slots, lookahead
        self._attempts = Attempts()
        self._flying = 0
        self._arrivals: SimpleQueue[Arrival | Exception] = SimpleQueue()
        self._answered: float | None = None
        self._failure: Exception | None = None
        """What ends the search, once the results that came with it have been returned."""
        self._closed = False
        key = secrets.token_bytes(KEY_BYTES)
        self._dispatcher = Dispatcher(slots, terms, lookahead, self, self._arrivals.put)
        bind, host = driver_address(spark.session)
        try:
            self._server = Server(bind, port, key, self._dispatcher)
        except OSError as error:
            raise ClusterError(
                f"the driver cannot listen on {bind}:{port}: {error.strerror or error}: give another "
                "engine.channel_port, or set engine.channel to off"
            ) from error
        door = Door(host, self._server.address[1], key, terms.silence_seconds)
        self._sessions = Sessions(spark.session, payload, door, slots, self._ended, map_arguments(spark.profile))

    @property
    def slots(self) -> int:
        """Sessions, and as many jobs more as keep them busy during the driver's own turn."""
        return self._slots + self._lookahead.ahead

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs to sessions that have room for them; the rest wait for one."""
        assignments = [Assignment(job, self._attempts.next(job)) for job in jobs]
        self._flying += len(assignments)
        self._server.call(partial(self._dispatcher.submit, assignments))

    def wait(self, timeout: float | None = None) -> list[Result]:
        """All results that have come, in the order of their coming.

        Raises ClusterError if no session can run jobs, ClusterLost if Spark is gone; results that came together with
        the error are returned first, and the next call raises it.
        """
        if self._failure is not None:
            raise self._failure
        if not self._flying:
            raise ValueError("nothing is in flight")
        if self._answered is not None:
            self._lookahead.turned(time.monotonic() - self._answered)
        arrivals: list[Arrival | Exception] = []
        with contextlib.suppress(Empty):
            arrivals.append(self._arrivals.get(timeout=timeout))
            while True:
                arrivals.append(self._arrivals.get_nowait())
        self._answered = time.monotonic() if arrivals else None
        results = self._taken(arrivals)
        if self._failure is not None and not results:
            raise self._failure
        self._flying -= len(results)
        return results

    def close(self) -> None:
        """End the sessions, cancelling those at work; close the channel; stop Spark if it was started here."""
        if self._closed:
            return
        self._closed = True
        self._flying = 0
        self._server.call(self._dispatcher.finish)
        answers = self._sessions.close()
        self._server.close()
        if self._spark.ours:
            stop_session(self._spark.session, answers=answers)

    def launch(self, number: int) -> None:
        """`dispatch.Fleet`, for the dispatcher."""
        self._sessions.launch(number)

    def cancel(self, number: int) -> None:
        """`dispatch.Fleet`, for the dispatcher."""
        self._sessions.cancel(number)

    def _ended(self, ending: Ending) -> None:
        self._server.call(partial(self._dispatcher.ended, ending))

    def _taken(self, arrivals: Sequence[Arrival | Exception]) -> list[Result]:
        """The results among them; the first error is kept. What was lost after it is none of its jobs' doing."""
        results: list[Result] = []
        for arrival in arrivals:
            if isinstance(arrival, Exception):
                self._failure = self._failure or arrival
            elif arrival.result is not None or self._failure is None:
                try:
                    results.append(self._result(arrival))
                except UsageError as error:
                    self._failure = self._failure or error
        return results

    def _result(self, arrival: Arrival) -> Result:
        job, attempt = arrival.assignment
        reason = arrival.reason
        if arrival.result is not None:
            try:
                return result_from_json(arrival.result)
            except ValueError as error:
                reason = f"its result cannot be read: {error}"
        # What a session has committed counts, although nobody heard of it.
        stored = self._committed(job)
        return stored if stored is not None else Result(job, "lost", error=reason, attempt=attempt)

    def _committed(self, job: Job) -> Result | None:
        if self._store is None:
            return None
        try:
            stored = self._store.committed(job.key)
        except UsageError:
            raise
        except Exception:  # an unreachable store finds nothing; the job comes back lost, with the session's end
            return None
        # Another job's is none of this one's: `run_job` says so when the job is run again.
        return stored if stored is not None and stored.job == job else None
