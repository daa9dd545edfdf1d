"""How sessions and searches end: idleness, leases, sessions that never work, messages out of place."""

from __future__ import annotations

import pytest

from spark_nas.engines.channel.frames import ChannelError, Message
from spark_nas.errors import ClusterError, ClusterLost
from tests.engines.channel.dispatching import Wire, World


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


def test_a_spark_that_is_gone_ends_the_search_at_once_before_any_session_has_come():
    world, gone = World(slots=2), ClusterLost("Spark is gone")
    world.submit(0, 1)
    for number in (1, 2):
        world.end(number, "Connection refused", gone)
    assert [gone] == world.arrived
    assert [1, 2] == world.launched  # what cannot work is not tried again


@pytest.mark.parametrize("noticed_first", ["connection", "Spark job"])
def test_a_spark_that_is_gone_under_a_job_ends_the_search_before_the_job_is_counted_as_lost(noticed_first: str):
    world, gone = World(slots=2), ClusterLost("Spark is gone")
    world.submit(0, 1, 2)
    one, two = Wire(world, 1), Wire(world, 2)
    two.finish()
    if noticed_first == "connection":
        one.die()
    world.end(1, "Connection refused", gone)
    assert [(0, None)] == [(a.assignment.job.trial.trial_id, a.result) for a in world.arrived[2:]]
    assert [gone] == world.arrived[1:2]
    world.submit(3)
    world.later(10.0)
    assert [1, 2] == world.launched


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
        {"type": "hello", "session": 99, "attempt": 0, "where": ""},
        {"type": "hello", "session": 1, "attempt": 0, "where": "twice"},
        {"type": "hello", "session": 1, "attempt": "no", "where": ""},
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
