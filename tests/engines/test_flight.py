"""Who is lost and who flies again when a flight's Spark jobs fail; Spark is a function of the board."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.engines.flight import Batches, Flight
from spark_nas.engines.worker import NOT_STARTED, Assignment
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import result_to_json
from tests.engines.probes import job

Fails = Callable[[Batches], Exception | None]
NAMELESS = "An exception was thrown from the Python worker: Traceback (most recent call last):\nKeyboardInterrupt"


def gave_up(task: int) -> Exception:
    return RuntimeError(f"Job aborted due to stage failure: Task {task} in stage 4.0 failed 4 times, most recent")


def killed_by(killers: Collection[int], *, named: bool = True) -> Fails:
    """A Spark job that ends by the first of these trials on board."""

    def fails(board: Batches) -> Exception | None:
        for task, batch in enumerate(board):
            if any(assignment.job.trial.trial_id in killers for assignment in batch):
                return gave_up(task) if named else RuntimeError(NAMELESS)
        return None

    return fails


def batches_of(*sizes: int) -> Batches:
    trials = iter(range(sum(sizes)))
    return [[Assignment(job(next(trials)), 1) for _ in range(size)] for size in sizes]


def done(trial: int) -> Result:
    return Result(job(trial), "completed", loss=0.5)


def fly(flight: Flight, fails: Fails, commits: bool = True) -> list[list[int]]:
    """The trials of each launch. Those before the one that ends a batch have committed, if there are commits."""
    launches = []
    while (board := flight.board) is not None:
        launches.append([a.job.trial.trial_id for batch in board for a in batch])
        assert len(launches) < 1000
        if (error := fails(board)) is None:
            flight.landed([result_to_json(done(a.job.trial.trial_id)) for batch in board for a in batch])
            continue
        committed: dict[JobKey, Result] = {}
        for batch in board:
            for assignment in batch:
                if fails([[assignment]]) is not None:
                    break
                if commits and len(batch) > 1:
                    committed[assignment.job.key] = done(assignment.job.trial.trial_id)
        flight.failed(error, committed)
    return launches


def statuses(flight: Flight) -> dict[int, str]:
    return {result.job.trial.trial_id: result.status for result in flight.results()}


def flight_of(
    batches: Batches, suspected: Collection[int] = (), *, careful: bool = True, has_commits: bool = True
) -> Flight:
    return Flight(batches, {job(trial).key for trial in suspected}, careful=careful, has_commits=has_commits)


def test_however_many_jobs_kill_their_spark_job_the_innocent_come_back_from_the_same_flight():
    killers = set(range(0, 40, 2))
    flight = flight_of(batches_of(*[1] * 41))
    launches = fly(flight, killed_by(killers))
    assert len(launches) == 21
    assert statuses(flight) == {trial: "lost" if trial in killers else "completed" for trial in range(41)}
    assert flight.suspects == {job(trial).key for trial in killers}


def test_a_suspect_of_before_flies_alone_and_last_and_harms_nobody():
    flight = flight_of(batches_of(1, 1, 1, 1), suspected=(0, 2))
    assert fly(flight, killed_by({0, 2})) == [[1, 3], [0], [2]]
    assert statuses(flight) == {0: "lost", 1: "completed", 2: "lost", 3: "completed"}


def test_one_that_was_wrongly_suspected_is_lost_once():
    """Trial 0 ends its executor, and Spark gives up the task of whoever ran beside it."""

    def executor_lost(board: Batches) -> Exception | None:
        trials = [assignment.job.trial.trial_id for batch in board for assignment in batch]
        return gave_up(len(trials) - 1) if 0 in trials else None

    first = flight_of(batches_of(1, 1, 1))
    fly(first, executor_lost)
    assert statuses(first) == dict.fromkeys((0, 1, 2), "lost")
    second = Flight(batches_of(1, 1, 1), first.suspects, careful=True, has_commits=True)
    fly(second, executor_lost)
    assert statuses(second) == {0: "lost", 1: "completed", 2: "completed"}


@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=12),
    killers=st.sets(st.integers(0, 47), max_size=5),
    suspected=st.sets(st.integers(0, 47), max_size=5),
    named=st.booleans(),
    careful=st.booleans(),
    has_commits=st.booleans(),
)
def test_nobody_is_lost_but_those_who_kill(
    sizes: list[int], killers: set[int], suspected: set[int], named: bool, careful: bool, has_commits: bool
):
    flight = flight_of(batches_of(*sizes), suspected, careful=careful, has_commits=has_commits)
    launches = fly(flight, killed_by(killers, named=named), commits=has_commits)
    assert statuses(flight) == {t: "lost" if t in killers else "completed" for t in range(sum(sizes))}
    assert flight.not_started() == ()
    assert len(launches) <= 2 * sum(sizes) + 1


def test_a_spark_that_fails_whatever_flies_and_names_nobody_ends_the_flight():
    flight = flight_of(batches_of(*[1] * 1000))
    launches = fly(flight, lambda board: RuntimeError("Job 3 cancelled"))
    assert len(launches) < 100
    assert set(statuses(flight).values()) == {"lost"}
    assert str(flight.results()[0].error).startswith("its Spark job ended: RuntimeError: Job 3 cancelled")


def test_while_jobs_may_go_without_a_commit_nobody_is_suspected_but_one_alone():
    flight = flight_of(batches_of(3), careful=False)
    flight.failed(gave_up(0), {})
    assert (flight.found, flight.careful, flight.board) == ({}, True, batches_of(3))
    alone = flight_of(batches_of(1), careful=False)
    alone.failed(gave_up(0), {})
    assert statuses(alone) == {0: "lost"}


def test_a_spark_job_that_fails_after_all_have_committed_loses_nobody():
    flight = flight_of(batches_of(1, 1))
    flight.failed(gave_up(1), {job(trial).key: done(trial) for trial in (0, 1)})
    assert (flight.board, statuses(flight)) == (None, {0: "completed", 1: "completed"})


def test_what_a_batch_had_no_time_for_has_no_result_and_is_told():
    flight = flight_of(batches_of(2))
    flight.landed([result_to_json(done(0)), NOT_STARTED])
    assert statuses(flight) == {0: "completed"}
    assert flight.not_started() == (Assignment(job(1), 1),)


def test_tasks_without_a_job_are_launched_once():
    flight = flight_of([[], []])
    assert flight.board == [[], []]
    flight.failed(gave_up(0), {})
    assert (flight.board, flight.results()) == (None, ())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("Task 1 in stage 4.0 failed 4 times", "Spark gave its task up (Task 1 in stage 4.0 failed)"),
        ("barrier task ResultTask(0, 1) finished unsuccessfully", "Spark gave its task up (barrier task"),
        ("no such luck", "its Spark job ended: RuntimeError: no such luck"),
    ],
)
def test_a_lost_job_says_what_spark_said(words: str, says: str):
    flight = flight_of(batches_of(1))
    flight.failed(RuntimeError(words), {})
    assert str(flight.results()[0].error).startswith(says)
