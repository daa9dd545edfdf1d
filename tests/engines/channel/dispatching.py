"""A dispatcher without sockets, Spark or time: the test plays the sessions, Spark and the clock."""

from __future__ import annotations

from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.dispatch import Dispatcher
from spark_nas.engines.channel.frames import Message
from spark_nas.engines.channel.records import Arrival, Ending, Terms
from spark_nas.engines.worker import Assignment
from spark_nas.search.wire import job_from_json
from tests.engines.probes import job


class Wire:
    """One session as the dispatcher sees it: what it was told, and what a real worker would answer."""

    def __init__(self, world: World, number: int, attempt: int = 0) -> None:
        self.world, self.number = world, number
        self.jobs: list[tuple[int, int]] = []
        self.told: list[str] = []
        self.open = True
        self.failing = False
        """Whether the connection has broken, and the next that is sent will show it."""
        self.recalled: int | None = None
        world.dispatcher.opened(self)
        self.say({"type": "hello", "session": number, "attempt": attempt, "where": f"host/{number}"})

    def send(self, message: Message) -> None:
        if self.failing:
            self.close("connection lost: Broken pipe")
        if not self.open:  # as `server.Peer` does
            return
        self.told.append(message["type"])
        if message["type"] == "jobs":
            self.jobs += [tuple(job_from_json(text).key) for text, _ in message["jobs"]]
        if message["type"] == "recall":
            self.recalled = message["count"]

    def close(self, reason: str) -> None:
        if self.open:
            self.open = False
            self.world.dispatcher.closed(self, reason)

    def say(self, message: Message) -> None:
        self.world.dispatcher.received(self, message)
        self.world.dispatcher.tick()

    def finish(self, seconds: float = 10.0) -> None:
        """The job it is at is done."""
        key = self.jobs.pop(0)
        self.say({"type": "done", "key": list(key), "seconds": seconds, "result": f"result of {key}"})

    def lose(self, seconds: float = 0.001) -> None:
        """The job it is at has met a fault of the machine's or the store's."""
        key = self.jobs.pop(0)
        self.say({"type": "done", "key": list(key), "seconds": seconds, "lost": True, "result": f"lost {key}"})

    def die(self) -> None:
        self.close("connection closed")
        self.world.dispatcher.tick()

    def answer_recall(self) -> None:
        assert self.recalled is not None
        count = min(self.recalled, max(0, len(self.jobs) - 1))
        self.jobs = self.jobs[: len(self.jobs) - count]
        self.recalled = None
        self.say({"type": "returned", "count": count})


class World:
    """A dispatcher with a clock that the test sets, and Spark jobs that only the test starts and ends."""

    def __init__(self, slots: int = 2, **terms: float) -> None:
        self.now = 100.0
        self.launched: list[int] = []
        self.cancelled: list[int] = []
        self.arrived: list[Arrival | Exception] = []
        lookahead = Lookahead(slots, 1.0, 1000)
        self.dispatcher = Dispatcher(slots, Terms(**terms), lookahead, self, self.arrived.append, lambda: self.now)

    def launch(self, number: int) -> None:
        self.launched.append(number)

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)

    def submit(self, *trials: int, rung: int = 0, attempt: int = 1) -> None:
        self.dispatcher.submit([Assignment(job(trial, rung), attempt) for trial in trials])
        self.dispatcher.tick()

    def later(self, seconds: float) -> None:
        """Time passes in steps of which none is taken for the driver's own standstill."""
        for _ in range(20):
            self.now += seconds / 20
            self.dispatcher.tick()

    def end(self, number: int, *how: object) -> None:
        self.dispatcher.ended(Ending(number, *how))
        self.dispatcher.tick()

    @property
    def found(self) -> list[tuple[int, str | None]]:
        """Trial and result of what has arrived; None for lost."""
        return [(a.assignment.job.trial.trial_id, a.result) for a in self.arrived if isinstance(a, Arrival)]
