"""A session that has lost a job to its machine or to the store rests, and the job goes to another one."""

from __future__ import annotations

from spark_nas.engines.channel.resting import Rests
from spark_nas.search.records import JobKey
from tests.engines.channel.dispatching import Wire, World

KEY, OTHER = JobKey(0, 0), JobKey(1, 0)


def test_rests_grow_with_the_losses_in_a_row_and_end():
    rests, now = Rests(), 100.0
    lengths = []
    for _ in range(7):
        rests.lost(1, KEY, now)
        began = now
        while 1 in rests.resting:
            now += 0.25
            rests.over(now)
        lengths.append(now - began)
    assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    rests.worked(1, OTHER)
    rests.lost(1, KEY, now)
    assert rests.over(now + 1.0)
    assert 1 not in rests.resting


def test_a_job_avoids_the_session_that_lost_it_last_until_it_is_done_or_has_waited_long_enough():
    rests = Rests()
    rests.lost(1, KEY, 0.0)
    rests.lost(2, KEY, 10.0)
    rests.lost(2, OTHER, 10.0)
    assert (rests.avoided(KEY), rests.avoided(OTHER), rests.avoided(JobKey(5, 0))) == (2, 2, None)
    rests.worked(3, KEY)
    assert (rests.avoided(KEY), rests.avoided(OTHER)) == (None, 2)
    assert rests.over(70.0)
    assert rests.avoided(OTHER) is None
    assert not rests.over(1000.0)


def test_a_session_that_is_gone_leaves_its_rest_to_no_successor():
    rests = Rests()
    rests.lost(1, KEY, 0.0)
    rests.forget(1)
    assert 1 not in rests.resting


def test_a_session_that_has_lost_a_job_draws_no_other_at_once():
    world = World(slots=1)
    world.submit(0, 1, 2)
    one = Wire(world, 1)
    one.lose()
    assert (one.jobs, world.found) == ([], [(0, "lost (0, 0)")])
    world.later(1.5)
    assert one.jobs == [(1, 0)]
    one.lose()
    world.later(1.5)
    assert one.jobs == []
    world.later(1.0)
    assert one.jobs == [(2, 0)]


def test_a_session_alone_takes_a_job_again_that_it_has_lost():
    world = World(slots=1)
    world.submit(0)
    one = Wire(world, 1)
    one.lose()
    world.submit(0, attempt=2)
    world.later(1.5)
    assert one.jobs == [(0, 0)]


def test_a_lost_job_waits_for_another_session_and_others_do_not_wait_with_it():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.lose()
    world.submit(0, attempt=2)
    world.submit(2)
    world.later(2.0)
    assert (one.jobs, two.jobs) == ([(2, 0)], [(1, 0)])
    one.finish()
    assert one.jobs == []
    two.finish()
    assert two.jobs == [(0, 0)]


def test_a_lost_job_waits_for_another_session_no_longer_than_a_minute():
    world = World(slots=2, silence_seconds=1e6, idle_seconds=1e6)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.lose()
    world.submit(0, attempt=2)
    world.later(59.0)
    assert one.jobs == []
    world.later(2.0)
    assert (one.jobs, two.jobs) == ([(0, 0)], [(1, 0)])


def test_a_lost_job_goes_to_its_loser_when_the_other_session_leaves():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.lose()
    world.submit(0, attempt=2)
    world.later(2.0)
    two.die()
    assert one.jobs == [(0, 0)]


def test_what_was_given_ahead_to_a_session_that_has_lost_a_job_goes_to_others():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.005)
    two.finish(0.005)
    world.submit(*range(2, 14))
    one.lose()
    held = list(one.jobs)
    assert (one.recalled, len(held)) == (5, 5)
    one.answer_recall()
    assert one.jobs == held[:1]
    for _ in range(10):
        two.finish(0.005)
    assert two.jobs == []
    assert set(held[1:]) <= {(trial, 0) for trial, _ in world.found}


def test_a_job_avoiding_its_loser_keeps_nothing_back_that_waits_behind_another():
    world = World(slots=2)
    world.submit(0, 1)
    one, two = Wire(world, 1), Wire(world, 2)
    one.finish(0.04)
    two.finish(0.04)
    world.submit(2, 3, 4, 5)
    assert (one.jobs, two.jobs) == ([(2, 0), (4, 0)], [(3, 0), (5, 0)])
    one.lose()
    one.answer_recall()
    world.submit(2, attempt=2)
    one.finish(0.04)
    world.later(2.0)
    two.answer_recall()
    assert (one.jobs, two.jobs) == ([(5, 0)], [(3, 0)])


def test_how_long_a_lost_job_took_teaches_nothing():
    world = World(slots=1)
    world.submit(*range(5))
    one = Wire(world, 1)
    one.lose(seconds=0.0001)
    world.later(1.5)
    assert one.jobs == [(1, 0)]  # had it taken them for short, more
