"""A real server with a real dispatcher; the test plays Spark, and starts real clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from threading import Event

from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.client import Door
from spark_nas.engines.channel.dispatch import Dispatcher
from spark_nas.engines.channel.records import Arrival, Ending, Terms
from spark_nas.engines.channel.server import Server
from spark_nas.engines.worker import Assignment
from tests.engines.channel.wires import KEY
from tests.engines.probes import job


@dataclass(frozen=True)
class Restless(Door):
    """A door whose sessions say twenty times a second that they live, however long they wait for an answer."""

    @property
    def beat_seconds(self) -> float:
        return 0.05


class Driver:
    """The driver's end of one run."""

    def __init__(self, host: str = "127.0.0.1", key: bytes = KEY, *, slots: int = 1, **terms: float) -> None:
        self.launched: SimpleQueue[int] = SimpleQueue()
        self.cancelled: SimpleQueue[int] = SimpleQueue()
        self.arrivals: SimpleQueue[Arrival | Exception] = SimpleQueue()
        self._key, lookahead = key, Lookahead(slots, 1.0, 1000)
        self.dispatcher = Dispatcher(slots, Terms(**terms), lookahead, self, self.arrivals.put)
        self.server = Server(host, 0, key, self.dispatcher)

    def launch(self, number: int) -> None:
        self.launched.put(number)

    def cancel(self, number: int) -> None:
        self.cancelled.put(number)

    def submit(self, *trials: int, attempt: int = 1) -> None:
        assignments = [Assignment(job(trial), attempt) for trial in trials]
        self.server.call(partial(self.dispatcher.submit, assignments))

    def end(self, number: int, reason: str) -> None:
        """Spark says that the job of a session is over."""
        self.server.call(partial(self.dispatcher.ended, Ending(number, reason)))

    def door(self, address: tuple[str, int] | None = None, connect_seconds: float = 10.0) -> Door:
        """What opens this driver's channel; at another address, if one is given."""
        return Restless(*(address or self.server.address), self._key, connect_seconds=connect_seconds)

    def next(self) -> tuple[int, str | None]:
        """Trial and result of the next arrival; None for lost."""
        arrival = self.arrivals.get(timeout=20)
        assert isinstance(arrival, Arrival)
        return arrival.assignment.job.trial.trial_id, arrival.result

    def settle(self) -> None:
        """Wait until the server has done what it had to do so far."""
        done = Event()
        self.server.call(done.set)
        assert done.wait(20)


@contextmanager
def driving(host: str = "127.0.0.1", key: bytes = KEY, *, slots: int = 1, **terms: float) -> Iterator[Driver]:
    """A driver, for as long as the block lasts."""
    driver = Driver(host, key, slots=slots, **terms)
    try:
        yield driver
    finally:
        driver.server.close()
