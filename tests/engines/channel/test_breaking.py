"""Connections that turn out to be gone when something is sent to them: nobody else is kept waiting, no job is kept."""

from __future__ import annotations

import pytest

from spark_nas.engines.channel.frames import ChannelError
from spark_nas.errors import ClusterError
from tests.engines.channel.dispatching import Wire, World


def test_finishing_sends_the_others_home_although_a_connection_breaks_meanwhile():
    world = World(slots=3)
    world.submit(0, 1, 2)
    wires = [Wire(world, number) for number in (1, 2, 3)]
    wires[0].failing = True
    world.dispatcher.finish()
    assert [wire.open for wire in wires] == [False, True, True]
    assert [wire.told[-1] for wire in wires[1:]] == ["end", "end"]
    assert {1, 2, 3} == set(world.cancelled)


def test_a_connection_that_breaks_under_a_recall_keeps_no_job_from_the_others():
    world = World(slots=3)
    world.submit(0, 1, 2)
    wires = [Wire(world, number) for number in (1, 2, 3)]
    for wire in wires:
        wire.finish(0.04)
    world.submit(*range(3, 9))
    assert [len(wire.jobs) for wire in wires] == [2, 2, 2]
    wires[0].failing = True
    for _ in range(2):
        wires[2].finish(0.04)
    world.later(1.0)
    assert not wires[0].open
    assert wires[1].recalled == 1
    assert wires[2].jobs == [(6, 0)]  # what waited behind the lost one's job


def test_jobs_given_to_a_connection_that_has_broken_are_handed_out_again():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.01)
    two.finish(0.01)
    one.failing = True
    world.submit(*range(2, 8))
    assert not one.open
    for _ in range(20):
        world.later(1.0)
        if two.jobs:
            two.finish(0.01)
    found = dict(world.found)
    assert sorted(found) == list(range(8))
    assert [trial for trial, result in found.items() if result is None] == [2]  # it may have arrived, and begun


def test_idle_sessions_that_fall_silent_together_are_no_sign_of_a_cluster_that_cannot_work():
    world, remedy = World(slots=12, silence_seconds=8.0, idle_seconds=1e6), ClusterError("executors cannot run")
    world.submit(*range(12))
    for wire in [Wire(world, number) for number in range(1, 13)]:
        wire.finish()
    world.later(9.0)
    assert world.cancelled == list(range(1, 13))
    for number in range(1, 13):
        world.end(number, "cancelled", remedy)
    assert remedy not in world.arrived
    world.submit(12)
    Wire(world, world.launched[-1]).finish()
    assert world.found[-1] == (12, "result of (12, 0)")


def test_sessions_that_had_come_are_none_that_cannot_run_however_late_spark_says_why_they_died():
    world, remedy = World(slots=1), ClusterError("executors cannot run")
    world.submit(*range(20))
    for number in range(1, 13):
        Wire(world, number).die()
        world.later(4.0)  # the job that it was at is lost, unexplained
        world.end(number, "ExecutorLostFailure", remedy)
    assert world.found == [(trial, None) for trial in range(12)]
    assert remedy not in world.arrived


def test_a_late_hello_of_an_older_attempt_leaves_its_successor_alone():
    world = World(slots=1)
    world.submit(0)
    live = Wire(world, 1, attempt=1)
    with pytest.raises(ChannelError, match="again since"):
        Wire(world, 1, attempt=0)
    live.finish()
    assert world.found == [(0, "result of (0, 0)")]
