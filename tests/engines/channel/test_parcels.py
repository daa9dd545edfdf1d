"""Jobs that are many, or long: messages that a frame takes, and a reason for what none takes."""

from __future__ import annotations

import json
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.channel import parcels as module
from spark_nas.engines.channel.client import Client
from spark_nas.engines.channel.frames import MAX_PAYLOAD, SEAL_BYTES
from spark_nas.engines.channel.parcels import LARGEST, parcels, size
from spark_nas.engines.worker import Assignment
from spark_nas.search.wire import job_from_json, job_to_json, result_from_json
from tests.engines.channel.dispatching import Wire, World
from tests.engines.channel.driving import driving
from tests.engines.probes import job

QUOTES = '"' * 2_000_000
"""4 MB as JSON, 8 MB as JSON within JSON."""
HUGE = "x" * MAX_PAYLOAD


@given(texts=st.lists(st.text(st.sampled_from('"\\ax'), max_size=40), max_size=20), attempt=st.integers(1, 99))
def test_parcels_hold_every_job_once_in_order_and_none_is_larger_than_may_be(texts: list[str], attempt: int):
    jobs = [(json.dumps(text), attempt) for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LARGEST", 200)
        found = list(parcels(jobs))
    assert jobs == [job for message in found for job in message["jobs"]]
    assert all(message["jobs"] for message in found)
    assert all(len(json.dumps(message["jobs"])) <= 200 for message in found)


@pytest.mark.parametrize("text", ["x" * 100, '"' * 100, "x" * (LARGEST // 2 + 1), "x" * (LARGEST - 50)])
def test_a_job_is_never_larger_than_its_size_says_and_one_that_fits_is_not_refused(text: str):
    frame = {"type": "jobs", "jobs": [(text, 10**9)]}
    length = SEAL_BYTES + len(json.dumps(frame, separators=(",", ":")))
    assert length <= size(text) + MAX_PAYLOAD - LARGEST
    assert size(text) <= LARGEST
    assert length <= MAX_PAYLOAD


@pytest.mark.slow
def test_jobs_that_are_too_much_for_one_frame_together_come_in_several():
    with driving() as driver:
        driver.submit(0)
        with Client(driver.door(), driver.launched.get(timeout=10), "here") as client:
            jobs = client.jobs()
            next(jobs)
            client.deliver((0, 0), 0.001, "short")
            assert driver.next() == (0, "short")
            many = [Assignment(job(trial, what=QUOTES), 1) for trial in range(1, 5)]
            driver.server.call(partial(driver.dispatcher.submit, many))
            assert [1, 2, 3, 4] == [job_from_json(next(jobs)[0]).trial.trial_id for _ in many]


def test_a_job_too_long_for_any_frame_fails_with_the_reason_and_the_others_go_on():
    world = World(slots=1)
    world.dispatcher.submit([Assignment(job(0, what=HUGE), 3), Assignment(job(1), 1)])
    world.dispatcher.tick()
    one = Wire(world, 1)
    assert one.jobs == [(1, 0)]
    [(trial, text)] = world.found
    result = result_from_json(str(text))
    assert (trial, result.status, result.attempt) == (0, "failed", 3)
    assert str(result.error).startswith("it cannot be sent to a worker: its 16777")
    assert len(job_to_json(result.job)) > MAX_PAYLOAD
