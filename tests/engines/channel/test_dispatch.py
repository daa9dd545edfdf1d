"""Who gets which job, and what becomes of the jobs of a session that is gone: every job comes back exactly once."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.channel.frames import ChannelError
from spark_nas.engines.channel.records import Arrival
from spark_nas.errors import ClusterError
from tests.engines.channel.dispatching import Wire, World


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
    again = Wire(world, 1, attempt=1)  # before anyone has seen the old connection go
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


EVENTS = ["submit", "greet", "short", "long", "lose", "die", "break", "end", "wait", "recall"]
STEPS = st.lists(
    st.tuples(st.sampled_from(EVENTS), st.integers(0, 5)),
    max_size=60,
)


@given(steps=STEPS, slots=st.integers(1, 4))
def test_every_job_comes_back_exactly_once_whatever_happens(steps: list[tuple[str, int]], slots: int):
    world = World(slots=slots, silence_seconds=1e6, idle_seconds=20.0, lease_seconds=50.0)
    wires: dict[int, Wire] = {}
    submitted: list[int] = []

    def alive() -> list[int]:
        return [number for number in world.launched if number not in ended]

    ended: set[int] = set()
    for what, which in steps:
        if what == "submit":
            new = range(len(submitted), len(submitted) + which)
            world.submit(*new)
            submitted += new
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
                elif what == "break":
                    wire.failing = True
                elif what == "recall" and wire.recalled is not None:
                    wire.answer_recall()
                elif what == "lose" and wire.jobs:
                    trial, _ = wire.jobs[0]
                    wire.lose()
                    world.submit(trial, attempt=2)
                    submitted.append(trial)
                elif what in ("short", "long") and wire.jobs:
                    wire.finish(0.01 if what == "short" else 10.0)
        assert len(alive()) <= slots
    for _ in range(10_000):  # from here on all goes well
        if len(world.arrived) == len(submitted):
            break
        for number in alive():
            if number in wires and wires[number].failing and wires[number].open:
                wires[number].die()
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
    assert Counter(submitted) == Counter(trial for trial, _ in world.found)
    here = [wire for wire in wires.values() if wire.open]
    for wire in here[::2]:
        wire.failing = True
    world.dispatcher.finish()
    assert all(wire.told[-1] == "end" for wire in here[1::2])
