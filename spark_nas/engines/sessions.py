"""The Spark jobs of worker sessions: one single-task job each, submitted from driver threads, cancelled by its group.

What a session does once it runs is between it and the channel; here it is started, watched to its end, and ended.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, ClassVar

from spark_nas.engines.channel.client import Client, Door
from spark_nas.engines.channel.frames import ChannelError
from spark_nas.engines.channel.records import Ending
from spark_nas.engines.descriptions import of_run
from spark_nas.engines.faults import SPOILED
from spark_nas.engines.launcher import label
from spark_nas.engines.session import is_local
from spark_nas.engines.spark_errors import has_stopped, is_python_error, is_sparks, reason, trouble
from spark_nas.engines.task import describe
from spark_nas.engines.worker import RESULT_SCHEMA, Keep, Payload, Work, retries, run_partition
from spark_nas.errors import ClusterError, ClusterLost
from spark_nas.search.records import Job, Result
from spark_nas.search.wire import job_from_json, result_to_json

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_END_SECONDS = 3.0
"""How long a session may take to end in order before its Spark job is cancelled."""
_CANCEL_SECONDS = 15.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ChannelFeed:
    """`worker.Feed` for a session: jobs come, and results go, over the channel."""

    door: Door
    session: int

    careful: ClassVar[bool] = False

    def run(self, partition: int, work: Work, keep: Keep) -> Iterator[str]:
        """Work until the driver ends the session or is gone; nothing returns through Spark.

        A job that spoils the process is the last. A result that finds the driver gone is committed, however short its
        job was. Raises ChannelError when there is no getting through to the driver.
        """
        where = f"{socket.gethostname()}/{os.getpid()}"
        with Client(self.door, self.session, where, retries()) as client:
            for text, attempt in client.jobs():
                job, began = job_from_json(text), time.monotonic()
                result = work(job, attempt)
                seconds, last = time.monotonic() - began, SPOILED.is_set()
                try:
                    lost = result.status == "lost"
                    delivered = client.deliver(job.key, seconds, result_to_json(result), lost=lost, last=last)
                except ChannelError as error:
                    short = result_to_json(_too_long(job, result, error))
                    delivered = client.deliver(job.key, seconds, short, last=last)
                if not delivered:
                    keep(result)
                if last:
                    break
        yield from ()


class Sessions:
    """`slots` driver threads, each with the Spark job of one session at a time; `dispatch.Fleet`."""

    def __init__(
        self,
        session: SparkSession,
        payload: Payload,
        door: Door,
        slots: int,
        ended: Callable[[Ending], None],
        more: Mapping[str, Any],
    ) -> None:
        """`ended` is called from those threads; `more` goes to `mapInArrow`, for the resources of a task."""
        from pyspark import InheritableThread

        self._context, self._session = session.sparkContext, session
        self._payload, self._door, self._ended, self._more = payload, door, ended, more
        self._run = f"spark-nas-{uuid.uuid4().hex[:12]}"
        self._of_run = of_run("")
        self._numbers: SimpleQueue[int | None] = SimpleQueue()
        self._closing = False
        self._running: set[int] = set()
        self._orders: SimpleQueue[int | None] = SimpleQueue()
        Thread(target=self._carry_out, daemon=True).start()
        self._threads = [InheritableThread(target=self._serve, daemon=True) for _ in range(slots)]
        for thread in self._threads:
            thread.start()

    def launch(self, number: int) -> None:
        """Start a session as soon as a thread is free."""
        self._numbers.put(number)

    def cancel(self, number: int) -> None:
        """Have a session's Spark job cancelled, and so its Python worker. Waits for nothing: Spark may hang."""
        self._orders.put(number)

    def close(self) -> bool:
        """Wait a little for sessions that end in order, cancel the others, end the threads. Idempotent.

        Takes 15 s at the most, whatever Spark does: threads that it keeps do not keep the process from ending. Returns
        whether all have ended; Spark has stopped answering where they have not.
        """
        self._closing = True
        for _ in self._threads:
            self._numbers.put(None)
        begun = time.monotonic()
        while (alive := [t for t in self._threads if t.is_alive()]) and time.monotonic() - begun < _CANCEL_SECONDS:
            alive[0].join(_POLL_SECONDS)
            if time.monotonic() - begun > _END_SECONDS and self._orders.empty():
                for number in list(self._running):
                    self.cancel(number)
        self._orders.put(None)
        return not alive

    def _carry_out(self) -> None:
        while (number := self._orders.get()) is not None:
            with contextlib.suppress(Exception):  # a Spark that is gone has nothing left to cancel
                self._context.cancelJobGroup(self._group(number))

    def _serve(self) -> None:
        while (number := self._numbers.get()) is not None:
            if self._closing:
                continue
            self._running.add(number)
            try:
                self._hold(number)
                ending = Ending(number)
            except Exception as error:  # the dispatcher must hear of every end, or it would wait for ever
                ending = ending_of(number, error, stopped=has_stopped(self._context))
            self._running.discard(number)
            self._ended(ending)

    def _hold(self, number: int) -> None:
        """One stage, one task, one action, until the session is over."""
        description = f"spark_nas session {number}{self._of_run}"
        label(self._session, self._group(number), description)
        feed = ChannelFeed(self._door, number)
        work = partial(run_partition, self._payload, feed)
        self._session.range(0, 1, 1, 1).mapInArrow(work, RESULT_SCHEMA, **self._more).collect()

    def _group(self, number: int) -> str:
        return f"{self._run}-{number}"


def driver_address(session: SparkSession) -> tuple[str, str]:
    """The address to listen on, and the one that executors know: those of Spark's own driver."""
    context = session.sparkContext
    if is_local(context.master or ""):
        return "127.0.0.1", "127.0.0.1"  # whatever Spark listens on, its workers are on this machine
    host = context.getConf().get("spark.driver.host") or socket.gethostname()
    bind = context.getConf().get("spark.driver.bindAddress") or host
    if bind in ("0.0.0.0", "::") and _is_here(host):
        bind = host
    return bind, host


def _is_here(host: str) -> bool:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.bind(address)
    except OSError:
        return False
    return True


def ending_of(number: int, error: Exception, *, stopped: bool = False) -> Ending:
    """What the end of a session's Spark job by this error tells the dispatcher; `stopped`: of its context."""
    remedy = trouble(error, stopped=stopped)
    if not isinstance(remedy, ClusterLost) and is_sparks(error) and ChannelError.__name__ in str(error):
        remedy = ClusterError(
            f"executors cannot reach the driver: {reason(error)}: open that port to them (engine.channel_port fixes "
            "it), or set engine.channel to off"
        )
    # Python code of ours that raises is never a job's doing: `run_job` does not raise.
    return Ending(number, describe(error), remedy, hopeless=is_python_error(error))


def _too_long(job: Job, result: Result, error: ChannelError) -> Result:
    return Result(
        job,
        "failed",
        error=f"its result cannot be sent: {error}",
        started_at=result.started_at,
        seconds=result.seconds,
        executor=result.executor,
        attempt=result.attempt,
        environment=result.environment,
    )
