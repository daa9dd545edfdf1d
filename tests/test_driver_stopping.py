"""The loop: a search that is told to stop ends in order, and the same command makes it the undisturbed one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas import driver
from spark_nas.config import Budget
from spark_nas.engines.simulated import Simulated
from spark_nas.errors import Unfinished
from spark_nas.search.records import Job, Result
from tests.driver_support import (
    ASHA,
    SYNCHRONOUS,
    WHOLE,
    Crowded,
    MemoryLog,
    cluster,
    curves,
    fresh,
    search,
    table,
)


class After:
    """A wish to stop from the so-manyth time on that anybody asks."""

    def __init__(self, turns: int) -> None:
        self.left = turns

    def __call__(self) -> str | None:
        self.left -= 1
        return "enough" if self.stopped else None

    @property
    def stopped(self) -> bool:
        return self.left < 0


class Silent(Crowded):
    """A cluster that from some moment on brings nothing back; its clock moves while one waits."""

    silent = False

    def wait(self, timeout: float | None = None) -> list[Result]:
        if not self.silent:
            return super().wait(timeout)
        self.now += timeout or 0.0
        return []


class Losing(Crowded):
    """Loses every job from some moment on."""

    losing = False

    def wait(self, timeout: float | None = None) -> list[Result]:
        results = super().wait(timeout)
        return [Result(r.job, "lost", error="the node is gone") for r in results] if self.losing else results


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_a_search_stopped_again_and_again_ends_with_the_undisturbed_table(name: str):
    log, stops, done = MemoryLog(), 0, False
    while not done:
        engine = cluster(SYNCHRONOUS[name], log.store)
        try:
            driver.run(fresh(SYNCHRONOUS[name]), engine, log, clock=engine.clock, stop=After(2), grace=0.5)
            done = True
        except Unfinished:
            stops += 1
    assert stops > 2
    assert WHOLE[name] == table(log.rows())


@given(turns=st.integers(0, 40))
def test_nothing_is_handed_out_once_there_is_a_reason_to_stop(turns: int):
    reasons, asked_after = After(turns), list[bool]()

    class Watched(Crowded):
        def submit(self, jobs: Sequence[Job]) -> None:
            asked_after.append(reasons.stopped)
            super().submit(jobs)

    engine = Watched(curves(ASHA), Simulated(workers=4, straggler_std=0.8))
    log = MemoryLog()
    with suppress(Unfinished):
        driver.run(fresh(ASHA), engine, log, clock=engine.clock, stop=reasons, grace=1e9)
    assert engine.flying == 0
    assert not any(asked_after)
    assert len(log.table) == len(getattr(engine, "submitted", ()))


def test_what_comes_back_within_the_grace_is_told_and_what_does_not_is_said():
    log, engine = MemoryLog(), Silent(curves(ASHA), Simulated(workers=4, straggler_std=0.8))
    reasons = After(3)

    def stop() -> str | None:
        reason = reasons()
        engine.silent = reason is not None
        return reason

    with pytest.raises(Unfinished, match=r"stopped \(enough\) after 3 jobs, 3 in flight; the same command continues"):
        driver.run(fresh(ASHA), engine, log, clock=engine.clock, stop=stop, grace=10)
    assert len(log.table) == 3
    again, _ = search(ASHA, log)
    assert len({result.job.key for result in again.results}) == len(again.table)


def test_jobs_lost_while_landing_are_left_to_the_next_invocation():
    log, engine = MemoryLog(), Losing(curves(ASHA), Simulated(workers=4, straggler_std=0.8))
    reasons = After(3)

    def stop() -> str | None:
        reason = reasons()
        engine.losing = reason is not None
        return reason

    with pytest.raises(Unfinished, match="3 in flight"):
        driver.run(fresh(ASHA), engine, log, clock=engine.clock, stop=stop, grace=1e9)
    assert all(result.status == "completed" for result in log.results)


def test_what_was_in_flight_is_not_submitted_again_where_there_is_a_reason_to_stop_from_the_start():
    rows = [(Result(fresh(ASHA).ask(4)[1], "completed", 0.5), 4)]
    engine = Crowded(curves(ASHA), Simulated(workers=4))
    with pytest.raises(Unfinished, match=r"stopped \(enough\) after 1 jobs, 3 in flight"):
        driver.run(fresh(ASHA), engine, MemoryLog(rows), clock=engine.clock, stop=lambda: "enough")
    assert not hasattr(engine, "submitted")


def test_a_search_that_was_at_its_end_is_not_unfinished():
    log, asked = search(SYNCHRONOUS["hyperband"])
    assert driver.run(fresh(SYNCHRONOUS["hyperband"]), cluster(ASHA), log, stop=lambda: "enough") == asked


def test_a_spent_budget_is_an_end_also_when_one_is_told_to_stop():
    log, _ = search(ASHA, budget=Budget(jobs=9))
    assert driver.run(fresh(ASHA), cluster(ASHA), log, budget=Budget(jobs=9), stop=lambda: "enough") == 9
