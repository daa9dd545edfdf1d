"""The loop: what is durable when, what a budget stops, and that a search resumed anywhere is the same search.

Jobs run on the simulated cluster, with stragglers and lost workers, so that results come in every order.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas import driver
from spark_nas.config import Budget
from spark_nas.engines.local import Local
from spark_nas.engines.simulated import MemoryStore, Simulated, SimulatedEngine
from spark_nas.errors import OutputError, SearchFailed
from spark_nas.evaluation.curves import CurveEvaluator
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.search.protocols import Engine, Evaluator, Scheduler, Workspace
from spark_nas.search.records import Job, JobKey, Outcome, Result
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import ParquetLog
from tests.strategies import PlainRecipes, plain_space

Options = FullTraining | SuccessiveHalving | Hyperband | Asha | AsynchronousHyperband
SPACE = plain_space(4, 4, 4)
SYNCHRONOUS: dict[str, Options] = {
    "full training": FullTraining(12, 9),
    "successive halving": SuccessiveHalving(18, 1, 9, 3),
    "hyperband": Hyperband(9, 3),
    "hyperband, twice": Hyperband(9, 3, rounding="jmlr_table", iterations=2),
}
ASHA = Asha(max_resource=9, eta=3, trials=30)
ASYNCHRONOUS: dict[str, Options] = {
    "asha": ASHA,
    "asha, pushed": Asha(max_resource=9, eta=3, trials=30, decision="push"),
    "asynchronous hyperband": AsynchronousHyperband(max_resource=9, eta=3, trials=40),
}


@dataclass
class MemoryLog:
    """A results table in memory, beside the checkpoints of its run."""

    table: list[tuple[Result, int]] = field(default_factory=list)
    store: MemoryStore = field(default_factory=MemoryStore)

    def append(self, results: Sequence[Result], asked: int) -> None:
        self.table += [(result, asked) for result in results]

    def rows(self) -> Iterable[tuple[Result, int]]:
        return list(self.table)

    @property
    def results(self) -> list[Result]:
        return [result for result, _ in self.table]

    def cut(self, rows: int, *, ahead: bool = False) -> MemoryLog:
        """What a driver lost after so many rows leaves; with `ahead` all commits are there, else the rows' only."""
        kept = self.table[:rows]
        return MemoryLog(list(kept), self.store if ahead else commits(self, kept))


def commits(log: MemoryLog, rows: Sequence[tuple[Result, int]]) -> MemoryStore:
    """The commits of these rows alone."""
    store = MemoryStore()
    for result, _ in rows:
        if result.status == "completed":
            store.commit(result, log.store.checkpoint(result.job.key))
    return store


class Recorder:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.asked: list[JobKey] = []
        self.told: list[JobKey] = []
        self.done = 0

    def on_asked(self, jobs: Sequence[Job]) -> None:
        self.asked += [job.key for job in jobs]

    def on_result(self, result: Result) -> None:
        assert result.job.key in self.asked
        self.told.append(result.job.key)

    def on_done(self) -> None:
        self.done += 1


class Crowded(SimulatedEngine):
    """The simulated engine, counting how many jobs were in flight at most, and how often each was submitted."""

    flying = most = 0

    def submit(self, jobs: Sequence[Job]) -> None:
        self.submitted = [*getattr(self, "submitted", ()), *jobs]
        self.flying += len(jobs)
        self.most = max(self.most, self.flying)
        super().submit(jobs)

    def wait(self, timeout: float | None = None) -> list[Result]:
        results = super().wait()
        self.flying -= len(results)
        return results


def fresh(options: Options, seed: int = 7) -> Scheduler:
    sampler = RandomSearch().build(SPACE, PlainRecipes(()), seed)
    return options.build(sampler, seed)


def curves(options: Options, **synthetic: float) -> CurveEvaluator:
    return Synthetic(**{"noise": 0.3, "divergence": 0.15, **synthetic}).build(SPACE, None, options.max_resource)


def cluster(options: Options, store: MemoryStore | None = None, **simulated: float) -> SimulatedEngine:
    return Simulated(**{"workers": 4, "straggler_std": 0.8, **simulated}).build(curves(options), store)


def search(options: Options, log: MemoryLog | None = None, budget: Budget | None = None, **simulated: float):
    log = MemoryLog() if log is None else log
    engine = cluster(options, log.store, **simulated)
    asked = driver.run(fresh(options), engine, log, budget=budget, clock=engine.clock)
    return log, asked


def table(rows: Iterable[tuple[Result, int]]) -> dict[JobKey, str]:
    """The results table without what depends on where, when and in which order jobs ran."""
    return {r.job.key: repr((r.job, r.status, r.loss, r.metrics, r.curve, r.derived)) for r, _ in rows}


WHOLE = {name: table(search(options)[0].rows()) for name, options in SYNCHRONOUS.items()}
clusters = st.fixed_dictionaries({"workers": st.integers(1, 9), "seed": st.integers(0, 10**6)})


# ------------------------------------------------------------------------------------------- resuming


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(sorted(SYNCHRONOUS)), first=clusters, second=clusters, cut=st.floats(0, 1), ahead=st.booleans()
)
def test_a_synchronous_search_cut_anywhere_and_resumed_elsewhere_gives_the_same_table(
    name: str, first: dict[str, int], second: dict[str, int], cut: float, ahead: bool
):
    options = SYNCHRONOUS[name]
    whole, _ = search(options, **first)
    log, _ = search(options, whole.cut(round(cut * len(whole.table)), ahead=ahead), **second)
    assert WHOLE[name] == table(log.rows())
    assert len(WHOLE[name]) == len(log.table)


@pytest.mark.parametrize("name", SYNCHRONOUS)
def test_every_single_prefix_of_the_log_leads_to_the_same_table(name: str):
    whole, _ = search(SYNCHRONOUS[name])
    for cut in range(len(whole.table) + 1):
        log, _ = search(SYNCHRONOUS[name], whole.cut(cut), workers=2)
        assert WHOLE[name] == table(log.rows())


@settings(max_examples=8, deadline=None)
@given(cut=st.integers(0, 22), second=clusters)
def test_the_same_holds_through_parquet(cut: int, second: dict[str, int]):
    whole, _ = search(SYNCHRONOUS["hyperband"])
    with tempfile.TemporaryDirectory() as folder:
        log = ParquetLog(LocalFiles(folder), "run")
        for result, asked in whole.table[:cut]:
            log.append([result], asked)
        engine = cluster(SYNCHRONOUS["hyperband"], whole.cut(cut).store, **second)
        driver.run(fresh(SYNCHRONOUS["hyperband"]), engine, ParquetLog(LocalFiles(folder), "run"))
        assert WHOLE["hyperband"] == table(ParquetLog(LocalFiles(folder), "run").rows())


@settings(max_examples=30, deadline=None)
@given(name=st.sampled_from(sorted(ASYNCHRONOUS)), first=clusters, second=clusters, cut=st.floats(0, 1))
def test_an_asynchronous_search_resumed_anywhere_keeps_its_rows_and_ends(
    name: str, first: dict[str, int], second: dict[str, int], cut: float
):
    options = ASYNCHRONOUS[name]
    whole, _ = search(options, **first)
    rows = round(cut * len(whole.table))
    log, asked = search(options, whole.cut(rows), **second)
    assert repr(whole.table[:rows]) == repr(log.table[:rows])
    assert len({result.job.key for result in log.results}) == len(log.table) == asked
    again = fresh(options)
    assert driver.replay(again, log.rows()) == ({}, asked)
    assert again.ask(99) == []


@settings(max_examples=25, deadline=None)
@given(first=clusters, second=clusters, cut=st.floats(0, 1))
def test_whoever_asha_promotes_was_among_the_best_of_its_rung_also_across_a_cut(
    first: dict[str, int], second: dict[str, int], cut: float
):
    whole, _ = search(ASHA, **first)
    log, _ = search(ASHA, whole.cut(round(cut * len(whole.table))), **second)
    scheduler, asked = fresh(ASHA), 0
    rungs: dict[int, dict[JobKey, float]] = {}
    for result, asked_then in log.table:
        for job in scheduler.ask(asked_then - asked):
            if job.start_from is not None:
                rung = rungs[job.start_from.rung]
                better = sum(loss < rung[job.start_from] for loss in rung.values())
                assert better < len(rung) // ASHA.eta
        asked = asked_then
        scheduler.tell(result)
        rungs.setdefault(result.job.rung, {})[result.job.key] = result.loss if result.usable else math.inf


def test_what_was_in_flight_is_submitted_again_first_and_in_the_order_of_asking():
    jobs = fresh(ASHA).ask(4)
    rows = [(Result(jobs[1], "completed", 0.5), 4)]
    flying, asked = driver.replay(fresh(ASHA), rows)
    assert ([jobs[0], jobs[2], jobs[3]], 4) == (list(flying.values()), asked)
    engine = Crowded(curves(ASHA), Simulated(workers=3))
    driver.run(fresh(ASHA), engine, MemoryLog(rows))
    assert [jobs[0], jobs[2], jobs[3]] == engine.submitted[:3]


def test_a_finished_search_runs_nothing_more():
    log, asked = search(ASHA)
    engine = Crowded(curves(ASHA), Simulated())
    assert driver.run(fresh(ASHA), engine, log) == asked
    assert not hasattr(engine, "submitted")
    assert len(log.table) == asked


@pytest.mark.parametrize("stranger", [fresh(ASHA, seed=8), fresh(Asha(max_resource=9, eta=2, trials=30))])
def test_the_log_of_another_search_is_refused(stranger: Scheduler):
    log, _ = search(ASHA)
    with pytest.raises(OutputError, match="does not fit this search: row"):
        driver.run(stranger, cluster(ASHA), log)


def test_a_log_longer_than_the_search_is_refused():
    log, _ = search(SYNCHRONOUS["full training"])
    with pytest.raises(OutputError, match="it has no job number 5"):
        driver.run(fresh(FullTraining(5, 9)), cluster(ASHA), log)


def test_a_log_with_a_row_twice_is_refused():
    log, _ = search(ASHA)
    with pytest.raises(OutputError, match="does not fit"):
        driver.replay(fresh(ASHA), [log.table[0], log.table[0]])


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


@pytest.mark.parametrize("resource", [20, 33, 34, 35, 60])
def test_a_budget_of_resource_counts_what_promotions_add_and_what_earlier_invocations_spent(resource: int):
    budget = Budget(resource=resource)
    log, _ = search(ASHA, budget=budget, workers=1)
    reached = {result.job.key: result.job.resource for result in log.results}
    added = [r.job.resource - reached.get(r.job.start_from, 0) for r in log.results]
    assert any(r.job.start_from for r in log.results)
    assert sum(added[:-1]) < resource <= sum(added)
    assert search(ASHA, log, budget, workers=1)[1] == len(added)


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


# --------------------------------------------------------------------------- who learns what, and when


@pytest.mark.parametrize("cut", [0, 5, 11])
def test_the_observer_sees_each_job_and_each_row_once_also_those_of_earlier_invocations(cut: int):
    whole, _ = search(ASHA)
    log, observer = whole.cut(cut), Recorder()
    driver.run(fresh(ASHA), cluster(ASHA, log.store), log, observer=observer)
    assert len(set(observer.asked)) == len(observer.asked)
    assert sorted(observer.asked) == sorted(observer.told)
    assert [result.job.key for result in log.results] == observer.told
    assert observer.done == 1


def test_a_lost_job_is_shown_once():
    observer = Recorder()
    engine = cluster(ASHA, drop_probability=0.2)
    driver.run(fresh(ASHA), engine, MemoryLog(), budget=Budget(attempts=99), observer=observer)
    assert engine.lost > 0
    assert len(set(observer.asked)) == len(observer.asked)


class FullDisk(MemoryLog):
    """Takes a few rows, then fails."""

    room = 3

    def append(self, results: Sequence[Result], asked: int) -> None:
        if len(self.table) == self.room:
            self.refused = results
            raise OutputError("no space left on device")
        super().append(results, asked)


def test_a_row_is_durable_before_the_scheduler_is_told():
    scheduler, log, observer = fresh(ASHA), FullDisk(), Recorder()
    with pytest.raises(OutputError, match="no space left"):
        driver.run(scheduler, cluster(ASHA), log, observer=observer)
    assert (3, 1) == (len(observer.told), observer.done)
    for result, _ in log.table:
        with pytest.raises(ValueError, match="told before"):
            scheduler.tell(result)
    for result in log.refused:
        scheduler.tell(result)  # it would raise, had the loop told it


def test_a_search_on_a_full_disk_continues_from_the_rows_it_has():
    options, log = SYNCHRONOUS["hyperband"], FullDisk()
    with pytest.raises(OutputError, match="no space left"):
        driver.run(fresh(options), cluster(options, log.store), log)
    search(options, rest := MemoryLog(log.table, log.store))
    assert WHOLE["hyperband"] == table(rest.rows())


@pytest.mark.parametrize("make", [Local(slots=3).build, Simulated(workers=3).build])
def test_engines_agree_on_the_table(make: Callable[[Evaluator], Engine]):
    options, log = SYNCHRONOUS["hyperband"], MemoryLog()
    driver.run(fresh(options), make(curves(options)), log)
    assert WHOLE["hyperband"] == table(log.rows())
