"""A session that must not begin another job: what it holds goes to the next, and nobody is lost."""

from __future__ import annotations

from tests.engines.channel.dispatching import Wire, World
from tests.engines.channel.test_client import session


def test_after_its_last_result_a_session_is_given_nothing_and_what_it_held_goes_to_the_next_uncounted():
    world = World(slots=1)
    world.submit(*range(6))
    one = Wire(world, 1)
    one.finish(seconds=0.002)
    assert [(trial, 0) for trial in range(1, 6)] == one.jobs  # given ahead
    one.say({"type": "done", "key": [1, 0], "seconds": 0.002, "result": "result of (1, 0)", "last": True})
    world.submit(6)
    assert [(trial, 0) for trial in range(1, 6)] == one.jobs
    one.die()
    world.end(1)
    assert [1, 2] == world.launched
    two = Wire(world, 2)
    assert [(trial, 0) for trial in range(2, 7)] == two.jobs
    while two.jobs:
        two.finish(seconds=0.002)
    assert [(trial, f"result of ({trial}, 0)") for trial in range(7)] == world.found


def test_a_result_says_that_it_is_the_last():
    with session() as (_, handler, client):
        client.deliver((3, 0), 0.5, "result", last=True)
        done = {"type": "done", "key": [3, 0], "seconds": 0.5, "result": "result", "last": True}
        assert ("received", done) == handler.next()
