"""The loop: what is durable when, what a budget stops, and that a search resumed anywhere is the same search.

Jobs run on the simulated cluster, with stragglers and lost workers, so that results come in every order.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas import driver
from spark_nas.config import Budget
from spark_nas.engines.local import Local
from spark_nas.engines.simulated import Simulated
from spark_nas.errors import OutputError
from spark_nas.search.protocols import Engine, Evaluator, Scheduler
from spark_nas.search.records import JobKey, Result
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import ParquetLog
from tests.driver_support import (
    ASHA,
    ASYNCHRONOUS,
    SYNCHRONOUS,
    WHOLE,
    Crowded,
    MemoryLog,
    Recorder,
    cluster,
    clusters,
    curves,
    fresh,
    search,
    table,
)

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
        with ParquetLog(LocalFiles(folder), "run") as log:  # at the end nobody compacts any more
            for result, asked in whole.table[:cut]:
                log.append([result], asked)
        engine = cluster(SYNCHRONOUS["hyperband"], whole.cut(cut).store, **second)
        with ParquetLog(LocalFiles(folder), "run") as log:
            driver.run(fresh(SYNCHRONOUS["hyperband"]), engine, log)
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


class Sweeper:
    """What a housekeeper hears, and how many rows were durable by then."""

    def __init__(self, log: MemoryLog) -> None:
        self.log, self.heard, self.durable = log, list[JobKey](), list[int]()

    def after(self, results: Sequence[Result]) -> None:
        self.heard += [result.job.key for result in results]
        self.durable.append(len(self.log.table))


def test_a_housekeeper_hears_of_every_result_once_it_is_durable():
    log = MemoryLog()
    sweeper = Sweeper(log)
    driver.run(fresh(ASHA), cluster(ASHA, drop_probability=0.2), log, budget=Budget(attempts=99), housekeeper=sweeper)
    assert [result.job.key for result in log.results] == sweeper.heard
    assert sweeper.durable == sorted(set(sweeper.durable))
    assert len(sweeper.heard) == sweeper.durable[-1]


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
