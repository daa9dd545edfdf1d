"""The loop: what lost workers, budgets and failures do to a search, and what they do not."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas import driver
from spark_nas.config import Budget
from spark_nas.engines.local import Local
from spark_nas.engines.simulated import Simulated
from spark_nas.errors import SearchFailed, Unfinished
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import SUPERNET, Job, JobKey, Outcome, Result, Trial
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from tests.driver_support import (
    ASHA,
    ASYNCHRONOUS,
    SYNCHRONOUS,
    WHOLE,
    Crowded,
    MemoryLog,
    Options,
    curves,
    fresh,
    search,
    table,
)

# ---------------------------------------------------------------------------------------- lost workers


def test_losing_workers_changes_nothing_in_the_table():
    log, _ = search(SYNCHRONOUS["hyperband"], budget=Budget(attempts=99), drop_probability=0.1)
    assert WHOLE["hyperband"] == table(log.rows())
    assert max(result.attempt for result in log.results) > 1


def test_a_job_that_is_always_lost_fails_after_the_attempts_it_is_given():
    options = FullTraining(4, 9)
    engine = Crowded(curves(options), Simulated(workers=2, unit_seconds=1000.0, drop_probability=0.9))
    log = MemoryLog()
    driver.run(fresh(options), engine, log, budget=Budget(attempts=3))
    assert [("failed", 3)] * 4 == [(result.status, result.attempt) for result in log.results]
    assert all("vanished" in (result.error or "") for result in log.results)
    assert len(engine.submitted) == 12


def test_a_lost_job_takes_a_slot_until_it_comes_back():
    engine = Crowded(curves(ASHA), Simulated(workers=3, drop_probability=0.2))
    driver.run(fresh(ASHA), engine, MemoryLog(), budget=Budget(attempts=99))
    assert engine.lost > 0
    assert engine.most == 3


class Outage(Crowded):
    """What ends from `begins` to `ends` cannot reach the store: its worker lives and says so."""

    begins, ends = 0.0, math.inf
    hits = slept = 0

    def wait(self, timeout: float | None = None) -> list[Result]:
        results = super().wait(timeout)
        if not self.begins <= self.now < self.ends:
            return results
        self.hits += len(results)
        return [Result(r.job, "lost", error="the store failed: no route", executor=r.executor) for r in results]

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += 1


def outage(options: Options, begins: float, ends: float, **simulated: float) -> Outage:
    engine = Outage(curves(options, divergence=0.0), Simulated(**{"unit_seconds": 1.0, **simulated}))
    engine.begins, engine.ends = begins, ends
    return engine


@pytest.mark.parametrize("name", SYNCHRONOUS)
@given(begins=st.floats(0, 8), workers=st.integers(1, 9))
@settings(max_examples=5, deadline=None)
def test_an_outage_of_the_store_of_two_minutes_fails_no_job(name: str, begins: float, workers: int):
    options, log = SYNCHRONOUS[name], MemoryLog()
    engine = outage(options, begins, begins + 120, workers=workers)
    driver.run(fresh(options), engine, log, clock=engine.clock, sleep=engine.sleep)
    assert engine.hits > 0
    assert {"completed"} == {result.status for result in log.results}
    assert engine.most <= workers


class CutOff(Outage):
    """An outage that the worker of the first job alone meets."""

    def wait(self, timeout: float | None = None) -> list[Result]:
        [result] = super().wait(timeout)
        reached = result.status == "lost" and result.job.trial.trial_id > 0
        return [replace(result, status="completed", loss=0.5, error=None) if reached else result]


def test_what_comes_back_is_taken_while_a_lost_job_waits():
    options, log = FullTraining(40, 1), MemoryLog()
    engine = CutOff(curves(options, divergence=0.0), Simulated(workers=2, unit_seconds=1.0))
    engine.ends = 20.0
    driver.run(fresh(options), engine, log, clock=engine.clock, sleep=engine.sleep)
    order = [result.job.trial.trial_id for result in log.results]
    assert (40, 0) == (len(order), engine.slept)
    assert 30 <= order.index(0) <= 32
    assert ("completed", 2) == (log.results[order.index(0)].status, log.results[order.index(0)].attempt)


def test_a_store_that_stays_away_fails_a_job_after_the_attempts_it_is_given_and_growing_pauses():
    options, log = FullTraining(1, 1), MemoryLog()
    engine = outage(options, 0.0, math.inf, workers=1)
    driver.run(fresh(options), engine, log, budget=Budget(attempts=7), clock=engine.clock, sleep=engine.sleep)
    [result] = log.results
    assert ("failed", 7, 7) == (result.status, result.attempt, len(engine.submitted))
    assert 30 + 120 + 480 + 3 * 600 + 7 == engine.now


def test_a_wish_to_stop_is_heard_while_all_jobs_wait_for_the_store():
    options = FullTraining(1, 1)
    engine = outage(options, 0.0, math.inf, workers=1)
    with pytest.raises(Unfinished, match="1 in flight"):
        driver.run(
            fresh(options),
            engine,
            MemoryLog(),
            clock=engine.clock,
            sleep=engine.sleep,
            stop=lambda: "enough" if engine.now > 10 else None,
        )
    assert engine.now < 11


@pytest.mark.parametrize("options", [*SYNCHRONOUS.values(), *ASYNCHRONOUS.values()])
def test_no_more_jobs_fly_than_there_are_slots(options: Options):
    engine = Crowded(curves(options), Simulated(workers=5, straggler_std=0.5))
    driver.run(fresh(options), engine, MemoryLog())
    assert engine.most == 5


# --------------------------------------------------------------------------------------------- budgets


def test_a_budget_of_fewer_jobs_than_slots_is_not_exceeded():
    assert [3, 3] == [
        search(ASHA, budget=Budget(jobs=3), workers=8)[1],
        len(search(ASHA, budget=Budget(jobs=3))[0].table),
    ]


def test_a_budget_of_jobs_is_spent_exactly_and_over_all_invocations():
    log, asked = search(ASHA, budget=Budget(jobs=7))
    assert (asked, len(log.table)) == (7, 7)
    assert search(ASHA, log, Budget(jobs=7))[1] == 7
    assert search(ASHA, log, Budget(jobs=5))[1] == 7
    assert search(ASHA, log, Budget(jobs=12))[1] == len(log.table) == 12


def test_a_budget_of_seconds_stops_asking_and_what_flies_still_counts():
    engine = Crowded(curves(ASHA), Simulated(workers=3, unit_seconds=2.0))
    log = MemoryLog()
    asked = driver.run(fresh(ASHA), engine, log, budget=Budget(seconds=7.0), clock=engine.clock)
    assert asked == len(log.table)
    starts = [result.started_at.timestamp() for result in log.results]
    ends = [result.started_at.timestamp() + result.seconds for result in log.results]
    assert max(starts) < 7 <= max(ends)


def test_a_budget_of_seconds_is_one_of_each_invocation():
    budget = Budget(seconds=3.0)
    log, first = search(ASHA, budget=budget)
    assert search(ASHA, log, budget)[1] > first


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.integers(0, 99)), max_size=30))
def test_the_resource_of_every_job_is_known_and_that_of_no_other(handed_out: list[tuple[int, int, int]]):
    resources, expected = driver._Resources(), dict[JobKey, int]()
    for trial, rung, resource in handed_out:
        resources.add(Job(Trial(trial, SUPERNET), rung, resource))
        expected[JobKey(trial, rung)] = resource
    everything = [JobKey(trial, rung) for trial in range(11) for rung in range(6)]
    assert [expected.get(key, 0) for key in everything] == [resources.of(key) for key in everything]


@pytest.mark.parametrize("resource", [20, 33, 34, 35, 60])
def test_a_budget_of_resource_counts_what_promotions_add_and_what_earlier_invocations_spent(resource: int):
    budget = Budget(resource=resource)
    log, _ = search(ASHA, budget=budget, workers=1)
    reached = {result.job.key: result.job.resource for result in log.results}
    added = [r.job.resource - reached.get(r.job.start_from, 0) for r in log.results]
    assert any(r.job.start_from for r in log.results)
    assert sum(added[:-1]) < resource <= sum(added)
    assert search(ASHA, log, budget, workers=1)[1] == len(added)


@pytest.mark.parametrize(
    "options",
    [FullTraining(None, 9), FullTraining(5_000, 9), Hyperband(9, iterations=None, overlap=True)],
    ids=["endless", "finite", "hyperband"],
)
def test_a_budget_of_resource_holds_where_a_round_is_as_wide_as_the_search(options: FullTraining | Hyperband):
    """Spark rounds take thousands of jobs at a time."""
    log, asked = search(options, budget=Budget(resource=100), workers=10_000)
    reached = {result.job.key: result.job.resource for result in log.results}
    added = [r.job.resource - reached.get(r.job.start_from, 0) for r in log.results]
    assert asked == len(added)
    assert 100 <= sum(added) < 109


@pytest.mark.parametrize("budget", [Budget(jobs=9), Budget(seconds=4.0), Budget(resource=30)])
def test_a_search_cut_by_its_budget_and_continued_without_is_the_uninterrupted_one(budget: Budget):
    log, asked = search(SYNCHRONOUS["hyperband"], budget=budget)
    assert asked < len(WHOLE["hyperband"])
    search(SYNCHRONOUS["hyperband"], log)
    assert WHOLE["hyperband"] == table(log.rows())


# -------------------------------------------------------------------------------------------- failures


class NotFinite:
    """Completes with a loss that nobody can rank."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        return Outcome(math.inf)


class FirstGoesWell:
    """Fails for every trial but the first."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if job.trial.trial_id:
            raise MemoryError("CUDA out of memory")
        return Outcome(0.5)


def test_a_search_whose_first_jobs_all_fail_stops_and_says_why():
    options, log = FullTraining(30, 9), MemoryLog()
    engine = Simulated(workers=1).build(curves(options, divergence=1.0))
    with pytest.raises(SearchFailed, match=r"first 5 jobs all failed, the last one with: Diverged: loss nan"):
        driver.run(fresh(options), engine, log, budget=Budget(failures=5))
    assert ["failed"] * 5 == [result.status for result in log.results]


def test_losses_that_are_not_finite_count_as_failures():
    with pytest.raises(SearchFailed, match="its loss is not finite"):
        driver.run(fresh(ASHA), Local().build(NotFinite()), MemoryLog(), budget=Budget(failures=3))


def test_a_hopeless_search_stays_hopeless_when_continued():
    options, log = FullTraining(30, 9), MemoryLog()
    for rows in (5, 6):
        engine = Simulated(workers=1).build(curves(options, divergence=1.0))
        with pytest.raises(SearchFailed, match=f"first {rows} jobs"):
            driver.run(fresh(options), engine, log, budget=Budget(failures=5))
        assert rows == len(log.table)


def test_one_completed_trial_keeps_a_search_going():
    log = MemoryLog()
    asked = driver.run(fresh(FullTraining(30, 9)), Local().build(FirstGoesWell()), log, budget=Budget(failures=5))
    assert asked == len(log.table) == 30


def test_a_trial_that_completed_before_a_restart_still_counts():
    log = MemoryLog()
    for budget in (Budget(failures=5, jobs=3), Budget(failures=5)):
        driver.run(fresh(FullTraining(9, 9)), Local().build(FirstGoesWell()), log, budget=budget)
    assert [1, 8] == [sum(r.status == status for r in log.results) for status in ("completed", "failed")]
