"""Who gets which job, and what becomes of the jobs of a session that is gone: every job comes back exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.dispatch import Dispatcher
from spark_nas.engines.channel.frames import ChannelError, Message
from spark_nas.engines.channel.records import Arrival, Ending, Terms
from spark_nas.engines.worker import Assignment
from spark_nas.errors import ClusterError
from spark_nas.search.wire import job_from_json
from tests.engines.probes import job


class Wire:
    """One session as the dispatcher sees it: what it was told, and what a real worker would answer."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.jobs: list[tuple[int, int]] = []
        self.told: list[str] = []
        self.open = True
        self.recalled: int | None = None
        world.dispatcher.opened(self)
        self.say({"type": "hello", "session": number, "where": f"host/{number}"})

    def send(self, message: Message) -> None:
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


def test_as_many_sessions_are_started_as_there_is_work_for_and_slots():
    world = World(slots=3)
    world.submit(0)
    assert [1] == world.launched
    world.submit(1, 2, 3, 4)
    assert [1, 2, 3] == world.launched


def test_a_long_job_is_never_given_ahead():
    world = World(slots=1)
    world.submit(0, 1, 2)
    one = Wire(world, 1)
    for trial in range(3):
        assert [(trial, 0)] == one.jobs
        one.finish(seconds=10.0)
    assert [0, 1, 2] == [trial for trial, _ in world.found]


def test_short_jobs_are_given_ahead_once_they_are_known_to_be_short():
    world = World(slots=1)
    world.submit(*range(50))
    one = Wire(world, 1)
    assert len(one.jobs) == 1
    one.finish(seconds=0.002)
    assert len(one.jobs) == 15  # 30 ms of work
    one.finish(seconds=0.002)
    assert len(one.jobs) == 15


def test_nothing_is_given_behind_a_job_of_a_rung_never_seen():
    world = World(slots=1)
    world.submit(*range(3))
    one = Wire(world, 1)
    for _ in range(3):
        one.finish(seconds=0.002)
    world.submit(0, rung=1)
    world.submit(3, 4)
    assert [(0, 1)] == one.jobs


def test_jobs_go_to_the_session_that_gets_to_them_first():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.04)
    two.finish(0.04)
    world.submit(2, 3, 4, 5)
    assert [[(2, 0), (4, 0)], [(3, 0), (5, 0)]] == [one.jobs, two.jobs]


def test_a_lost_session_loses_the_job_it_was_at_and_no_other():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.04)
    two.finish(0.04)
    world.submit(2, 3, 4, 5)
    one.die()  # it was at 2, with 4 behind it
    two.finish(0.04)
    assert [(5, 0), (4, 0)] == two.jobs
    assert world.found == [(0, "result of (0, 0)"), (1, "result of (1, 0)"), (3, "result of (3, 0)")]
    world.end(1, "Python worker exited unexpectedly: Segmentation fault", ClusterError("x"))
    lost = world.arrived[-1]
    assert isinstance(lost, Arrival)
    assert (lost.assignment.job.key, lost.result) == ((2, 0), None)
    assert lost.reason == (
        "its worker session (host/1) ended: connection closed; Python worker exited unexpectedly: Segmentation fault"
    )
    assert [1, 2, 3] == world.launched  # the slot has a new session


def test_a_loss_that_spark_does_not_explain_is_told_all_the_same():
    world = World(slots=1)
    world.submit(0)
    Wire(world, 1).die()
    world.later(2.0)
    assert [] == world.found
    world.later(2.0)
    assert [(0, None)] == world.found
    assert [1] == world.launched  # its Spark job has not ended: Spark may start the task again


def test_a_task_that_spark_starts_again_is_a_new_session_that_runs_nothing_twice():
    world = World(slots=1)
    world.submit(0, 1)
    one = Wire(world, 1)
    again = Wire(world, 1)  # before anyone has seen the old connection go
    assert not one.open
    assert [(0, None)] == world.found
    assert [(1, 0)] == again.jobs
    with pytest.raises(ChannelError, match="after the session's end"):
        one.finish()
    assert [(0, None)] == world.found


def test_a_late_result_of_a_job_that_somebody_else_has_is_ignored():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    two.say({"type": "done", "key": [0, 0], "seconds": 1.0, "result": "late"})
    one.finish()
    one.say({"type": "done", "key": [0, 0], "seconds": 1.0, "result": "twice"})
    assert [(0, "result of (0, 0)")] == world.found


def test_a_silent_session_is_dropped_and_cancelled_and_its_job_goes_to_another():
    world = World(slots=2, silence_seconds=8.0)
    world.submit(0)
    one = Wire(world, 1)
    world.later(4.0)
    one.say({"type": "ping"})
    assert "pong" == one.told[-1]
    world.later(7.0)
    assert one.open
    world.later(2.0)
    assert not one.open
    assert [1] == world.cancelled
    world.later(4.0)
    assert [(0, None)] == world.found
    world.submit(0, attempt=2)
    assert [1, 2] == world.launched  # the cancelled one may take its time
    assert [(0, 0)] == Wire(world, 2).jobs


def test_silence_is_noticed_however_short_it_is_set():
    world = World(slots=1, silence_seconds=1.0)
    world.submit(0)
    one = Wire(world, 1)
    for _ in range(10):
        world.now += 0.26  # as the server's thread ticks
        world.dispatcher.tick()
    assert not one.open


def test_a_driver_that_stood_still_does_not_take_its_sessions_for_silent():
    world = World(slots=1, silence_seconds=8.0)
    world.submit(0)
    one = Wire(world, 1)
    world.now += 3600
    world.dispatcher.tick()
    assert one.open


def test_an_idle_session_ends_and_new_work_starts_a_new_one():
    world = World(slots=1, idle_seconds=5.0)
    world.submit(0)
    one = Wire(world, 1)
    world.later(30.0)
    assert "end" not in one.told  # at work
    one.finish()
    world.later(4.0)
    assert "end" not in one.told
    world.later(2.0)
    assert "end" == one.told[-1]
    one.die()
    world.end(1)
    assert [1] == world.launched
    world.submit(1)
    assert [1, 2] == world.launched
    assert [(1, 0)] == Wire(world, 2).jobs
    assert [(0, "result of (0, 0)")] == world.found


def test_a_session_whose_lease_is_over_ends_after_its_job_and_another_takes_the_rest():
    world = World(slots=1, lease_seconds=5.0)
    world.submit(0, 1)
    one = Wire(world, 1)
    world.later(6.0)
    one.finish()
    assert [] == one.jobs
    world.later(1.0)
    assert "end" == one.told[-1]
    one.die()
    world.end(1)
    assert [1, 2] == world.launched
    assert [(1, 0)] == Wire(world, 2).jobs


def test_what_waits_behind_a_job_that_takes_longer_than_thought_goes_to_an_idle_session():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.04)
    two.finish(0.04)
    world.submit(2, 3, 4, 5)
    two.finish(0.04)
    two.finish(0.04)
    assert (one.jobs, two.jobs) == ([(2, 0), (4, 0)], [])
    world.later(1.0)
    one.answer_recall()
    assert (one.jobs, two.jobs) == ([(2, 0)], [(4, 0)])
    one.finish(1.0)
    two.finish(0.04)
    assert [0, 1, 3, 5, 2, 4] == [trial for trial, _ in world.found]


def test_a_session_that_python_cannot_run_stops_the_search_at_once_when_none_has_ever_worked():
    world, remedy = World(slots=1), ClusterError("executors cannot run spark_nas")
    world.submit(0)
    world.end(1, "PythonException", remedy, True)
    assert [remedy] == world.arrived


def test_sessions_that_die_without_having_run_a_job_are_not_started_for_ever():
    world, remedy = World(slots=1), ClusterError("executors cannot run spark_nas")
    world.submit(0)
    while not world.arrived:
        world.end(world.launched[-1], "executor lost", remedy)
        assert len(world.launched) < 20
    assert [remedy] == world.arrived


def test_a_cluster_that_has_worked_is_given_more_time():
    world, remedy = World(slots=1), ClusterError("executors cannot run spark_nas")
    world.submit(*range(60))
    for _ in range(20):
        one = Wire(world, world.launched[-1])
        one.finish()
        one.die()
        world.end(one.number, "executor lost", remedy, True)
    # each died at a job: that is the job's attempt, or what comes of it, and no sign of a cluster that cannot work
    assert remedy not in world.arrived


def test_finishing_sends_idle_sessions_home_and_cancels_the_others():
    world = World(slots=3)
    world.submit(0, 1, 2)
    one, two = Wire(world, 1), Wire(world, 2)
    two.finish()
    world.dispatcher.finish()
    late = Wire(world, 3)
    assert ["end"] * 3 == [wire.told[-1] for wire in (one, two, late)]
    assert one.number in world.cancelled
    assert two.number not in world.cancelled or two.jobs


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"type": "hello"},
        {"type": "hello", "session": 99, "where": ""},
        {"type": "hello", "session": 1, "where": "twice"},
        {"type": "done"},
        {"type": "done", "key": 3, "seconds": 1.0, "result": ""},
        {"type": "done", "key": [1], "seconds": 1.0, "result": ""},
        {"type": "done", "key": [1, 2], "seconds": float("nan"), "result": ""},
        {"type": "done", "key": [1, 2], "seconds": -1.0, "result": ""},
        {"type": "returned", "count": "many"},
    ],
)
def test_a_message_out_of_place_is_refused_as_an_error_that_the_server_knows(message: Message):
    world = World()
    world.submit(0)
    one = Wire(world, 1)
    with pytest.raises((ChannelError, KeyError, TypeError, ValueError)):
        one.say(message)


def test_a_message_before_the_hello_is_refused():
    world = World()
    stranger = Wire.__new__(Wire)
    with pytest.raises(ChannelError, match="'done' before the hello"):
        world.dispatcher.received(stranger, {"type": "done"})


STEPS = st.lists(
    st.tuples(st.sampled_from(["submit", "greet", "short", "long", "die", "end", "wait", "recall"]), st.integers(0, 5)),
    max_size=60,
)


@given(steps=STEPS, slots=st.integers(1, 4))
def test_every_job_comes_back_exactly_once_whatever_happens(steps: list[tuple[str, int]], slots: int):
    world = World(slots=slots, silence_seconds=1e6, idle_seconds=20.0, lease_seconds=50.0)
    wires: dict[int, Wire] = {}
    submitted = 0

    def alive() -> list[int]:
        return [number for number in world.launched if number not in ended]

    ended: set[int] = set()
    for what, which in steps:
        if what == "submit":
            world.submit(*range(submitted, submitted + which))
            submitted += which
        elif what == "wait":
            world.later(4.0 * which)
        elif alive():
            number = alive()[which % len(alive())]
            wire = wires.get(number)
            if what == "greet":
                wires[number] = Wire(world, number)
            elif what == "end":
                ended.add(number)
                world.end(number)
            elif wire is not None and wire.open:
                if what == "die":
                    wire.die()
                elif what == "recall" and wire.recalled is not None:
                    wire.answer_recall()
                elif what in ("short", "long") and wire.jobs:
                    wire.finish(0.01 if what == "short" else 10.0)
        assert len(alive()) <= slots
    for _ in range(10_000):  # from here on all goes well
        if len(world.arrived) == submitted:
            break
        for number in alive():
            if number not in wires or not wires[number].open:
                wires[number] = Wire(world, number)
            wire = wires[number]
            if wire.recalled is not None:
                wire.answer_recall()
            if wire.jobs:
                wire.finish()
            elif "end" in wire.told:
                wire.die()
                ended.add(number)
                world.end(number)
        world.later(1.0)
    assert Counter(range(submitted)) == Counter(trial for trial, _ in world.found)
