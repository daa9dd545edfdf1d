"""Batches of worker sessions: short jobs together, long jobs alone."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.batching import AutoBatch, Lookahead
from spark_nas.engines.worker import Assignment
from spark_nas.search.records import Result
from tests.engines.probes import job


def took(seconds: float, count: int, rung: int = 0) -> list[Result]:
    return [Result(job(i, rung), "completed", 0.0, seconds=seconds) for i in range(count)]


def queue(count: int, rung: int = 0, attempt: int = 1) -> deque[Assignment]:
    return deque(Assignment(job(i, rung), attempt) for i in range(count))


def test_the_first_batches_are_single_jobs():
    assert len(AutoBatch(1.0, 1000).take(queue(10), idle=2)) == 1


def test_batches_of_short_jobs_last_their_seconds_as_soon_as_one_has_come_back():
    batching = AutoBatch(1.0, 1000)
    sizes = []
    for _ in range(3):
        batch = batching.take(queue(1000), idle=1)
        sizes.append(len(batch))
        batching.observe(took(1 / 128, len(batch)))
    assert sizes == [1, 128, 128]


def test_batches_of_no_work_at_all_are_as_large_as_they_may_be():
    batching = AutoBatch(1.0, 100)
    batching.observe(took(0.0, 1))
    assert (batching.size, len(batching.take(queue(1000), idle=1))) == (100, 100)


def test_batches_of_no_seconds_are_single_jobs():
    batching = AutoBatch(0.0, 1000)
    unknown = len(batching.take(queue(10), idle=1))
    batching.observe(took(0.0, 1))
    assert (unknown, batching.size, len(batching.take(queue(10), idle=1))) == (1, 1, 1)


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


def looking(seconds: float, turn: float = 0.01, sessions: int = 8, rung: int = 0) -> Lookahead:
    lookahead = Lookahead(sessions, 1.0, 1000)
    for _ in range(20):
        lookahead.observe(rung, seconds)
    lookahead.turned(turn)
    return lookahead


def test_nothing_is_asked_ahead_before_jobs_are_known_to_be_short():
    assert Lookahead(8, 1.0, 1000).ahead == 0


def test_jobs_of_more_than_the_seconds_are_never_asked_ahead():
    assert (looking(1.01, turn=0.2).ahead, looking(0.99, turn=0.2).ahead) == (0, 8)


def test_nothing_is_asked_ahead_where_the_drivers_turn_is_nothing_beside_a_job():
    assert looking(0.9, turn=0.001).ahead == 0


def test_as_much_is_asked_ahead_as_ends_during_the_drivers_turns():
    # 2 turns of 10 ms and the channel's 5 are half a job of 50 ms; safety doubles it
    assert (looking(0.05).ahead, looking(0.025).ahead, looking(0.005).ahead) == (8, 16, 80)


def test_batch_seconds_of_nothing_ask_nothing_ahead():
    lookahead = Lookahead(8, 0.0, 1000)
    lookahead.observe(0, 0.001)
    assert lookahead.ahead == 0


def test_a_long_turn_of_the_driver_is_forgotten_slowly_and_never_counts_for_more_than_a_quarter_second():
    lookahead = looking(0.05, turn=60.0)
    most = lookahead.ahead
    assert most == looking(0.05, turn=0.25).ahead
    for _ in range(50):
        lookahead.turned(0.01)
    assert lookahead.ahead == looking(0.05).ahead


def test_a_first_job_that_imports_torch_does_not_pass_for_the_rule():
    lookahead = Lookahead(1, 1.0, 1000)
    lookahead.observe(0, 5.0)
    for _ in range(20):
        lookahead.observe(0, 0.002)
    assert lookahead.expected(0) < 0.004


def test_a_session_has_room_for_some_short_jobs_and_one_behind_a_job_of_less_than_a_tenth_of_a_second():
    lookahead = Lookahead(1, 1.0, 1000)
    assert [lookahead.has_room(1, 0.05), lookahead.has_room(1, 0.2), lookahead.has_room(2, 0.1)] == [True, False, False]
    assert [lookahead.has_room(9, 0.02), lookahead.has_room(9, 0.04)] == [True, False]


@given(
    seconds=st.lists(st.floats(0, 100), min_size=1, max_size=20),
    turns=st.lists(st.floats(0, 100), max_size=5),
    sessions=st.integers(1, 50),
    largest=st.integers(1, 100),
)
def test_no_more_is_asked_ahead_than_allowed(seconds: list[float], turns: list[float], sessions: int, largest: int):
    lookahead = Lookahead(sessions, 1.0, largest)
    for value in seconds:
        lookahead.observe(0, value)
    for value in turns:
        lookahead.turned(value)
    assert 0 <= lookahead.ahead <= sessions * largest
