"""The first jobs wait for the sessions that are starting, and no longer than they may."""

from __future__ import annotations

from tests.engines.channel.dispatching import Wire, World


def test_the_first_jobs_are_handed_out_when_all_sessions_are_there():
    world = World(slots=2, gather_seconds=5.0)
    world.submit(0, 1, 2)
    first = Wire(world, 1)
    assert first.jobs == []
    second = Wire(world, 2)
    assert (first.jobs, second.jobs) == ([(0, 0)], [(1, 0)])


def test_sessions_that_do_not_come_are_waited_for_no_longer_than_may_be():
    world = World(slots=3, gather_seconds=5.0)
    world.submit(0, 1, 2)
    world.later(60.0)  # nobody has come: there is nobody to give a job to
    first = Wire(world, 1)
    world.later(4.0)
    assert first.jobs == []
    world.later(2.0)
    assert first.jobs == [(0, 0)]


def test_a_session_that_dies_on_its_way_is_not_waited_for():
    world = World(slots=2, gather_seconds=5.0)
    world.submit(0)
    assert world.launched == [1]
    world.submit(1)
    first = Wire(world, 1)
    assert first.jobs == []
    world.dispatcher._slots = 1  # so that the dead one is not replaced
    world.end(2)
    assert first.jobs == [(0, 0)]


def test_sessions_that_come_later_are_not_waited_for():
    world = World(slots=2, gather_seconds=5.0)
    world.submit(0)
    first = Wire(world, 1)
    assert first.jobs == [(0, 0)]
    world.submit(1)
    first.finish()
    assert (world.launched, first.jobs) == ([1, 2], [(1, 0)])
