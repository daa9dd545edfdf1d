"""Batches of worker sessions: short jobs together, long jobs alone."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.batching import AutoBatch
from spark_nas.engines.worker import Assignment
from spark_nas.search.records import Result
from tests.engines.probes import job


def took(seconds: float, count: int, rung: int = 0) -> list[Result]:
    return [Result(job(i, rung), "completed", 0.0, seconds=seconds) for i in range(count)]


def queue(count: int, rung: int = 0, attempt: int = 1) -> deque[Assignment]:
    return deque(Assignment(job(i, rung), attempt) for i in range(count))


def test_the_first_batches_are_single_jobs():
    assert len(AutoBatch(1.0, 1000).take(queue(10), idle=2)) == 1


def test_batches_of_short_jobs_grow_fourfold_up_to_their_seconds():
    batching = AutoBatch(1.0, 1000)
    sizes = []
    for _ in range(5):
        batch = batching.take(queue(1000), idle=1)
        sizes.append(len(batch))
        batching.observe(took(1 / 128, len(batch)))
    assert sizes == [1, 4, 16, 64, 128]


def test_long_jobs_stay_alone():
    batching = AutoBatch(1.0, 1000)
    batching.observe(took(5.0, 1))
    assert (batching.size, len(batching.take(queue(10), idle=1))) == (1, 1)


def test_a_rung_never_seen_is_taken_to_be_long():
    batching = AutoBatch(1.0, 1000)
    batching.observe(took(0.001, 100))
    assert len(batching.take(queue(10, rung=1), idle=1)) == 1


def test_a_job_lost_before_runs_alone():
    batching = AutoBatch(1.0, 1000)
    batching.observe(took(0.001, 100))
    pending = queue(3) + queue(1, attempt=2) + queue(3)
    assert [len(batching.take(pending, idle=1)) for _ in range(3)] == [3, 1, 3]


def test_work_is_shared_among_idle_sessions():
    batching = AutoBatch(1.0, 1000)
    batching.observe(took(0.001, 100))
    pending = queue(10)
    assert [len(batching.take(pending, idle)) for idle in (3, 2, 1)] == [4, 3, 3]


@given(seconds=st.floats(0, 10), size=st.integers(1, 50), largest=st.integers(1, 20), idle=st.integers(1, 5))
def test_a_batch_is_never_empty_nor_larger_than_allowed(seconds: float, size: int, largest: int, idle: int):
    batching = AutoBatch(1.0, largest)
    batching.observe(took(seconds, size))
    pending = queue(50)
    batch = batching.take(pending, idle)
    assert 1 <= len(batch) <= largest
    assert [*batch, *pending] == list(queue(50))
