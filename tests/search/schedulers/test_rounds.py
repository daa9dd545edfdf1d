"""Laws of successive halving and Hyperband."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.errors import OptionError
from spark_nas.search.records import Job, Proposal, Result
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.core import SUPERNET
from tests.strategies import PlainRecipes, judge, losses, plain_space, search


def sampler():
    return RandomSearch(replacement=True).build(plain_space(5, 5, 5), PlainRecipes(()), 1)


def supernets(count: int):
    return ListedSampler([Proposal(SUPERNET)] * count)


def by_rung(rows: list[tuple[Result, int]]):
    rungs = defaultdict(dict)
    for result, _ in rows:
        rungs[result.job.trial.bracket, result.job.rung][result.job.trial.trial_id] = result
    return rungs


@given(st.integers(9, 40), st.integers(1, 9), st.integers(0, 99))
@settings(max_examples=40)
def test_a_rung_keeps_the_best_of_the_one_below(trials: int, slots: int, seed: int):
    history = search(SuccessiveHalving(trials, 1, 9, 3).build(sampler(), 1), judge(seed), slots=slots, seed=seed)
    rungs = by_rung(history.rows)
    for k in (0, 1):
        best = sorted(rungs[0, k], key=lambda n, k=k: (rungs[0, k][n].loss, n))
        assert set(rungs[0, k + 1]) == set(best[: trials // 3 ** (k + 1)])


@given(st.lists(losses(), min_size=9, max_size=9), st.permutations(range(9)))
def test_the_order_of_results_changes_nothing(values: list[float], order: Sequence[int]):
    def promoted(order: Sequence[int]):
        scheduler = SuccessiveHalving(9, 1, 3, 3).build(sampler(), 1)
        jobs = scheduler.ask(9)
        for number in order:
            scheduler.tell(Result(jobs[number], "completed", values[number]))
        return scheduler.ask(9)

    assert promoted(order) == promoted(range(9))


@given(st.integers(1, 12), st.integers(0, 50))
@settings(max_examples=20)
def test_hyperband_gives_the_same_table_on_any_number_of_workers(slots: int, seed: int):
    def rows(slots: int, order: int):
        history = search(Hyperband(27, 3).build(sampler(), 1), judge(7, 0.2), slots=slots, seed=order)
        return {result.job.key: result for result, _ in history.rows}

    assert repr(sorted(rows(slots, seed).items())) == repr(sorted(rows(1, 0).items()))


def test_hyperband_carries_out_its_plan():
    options = Hyperband(27, 3, iterations=2)
    rungs = by_rung(search(options.build(sampler(), 1), judge(1), slots=7, seed=1).rows)
    sizes = {(bracket, rung): len(trials) for (bracket, rung), trials in rungs.items()}
    assert sizes == {
        (number, rung): size for number, b in enumerate(options.plan() * 2) for rung, size in enumerate(b.sizes)
    }


def test_an_idle_worker_waits_unless_brackets_overlap():
    counts = {}
    for overlap in (False, True):
        scheduler = SuccessiveHalving(9, 1, 9, 3, brackets=2, overlap=overlap).build(sampler(), 1)
        counts[overlap] = [job.trial.bracket for job in scheduler.ask(12)]
    assert counts == {False: [0] * 9, True: [0] * 9 + [1] * 3}


def test_the_oldest_bracket_is_served_first():
    scheduler = SuccessiveHalving(3, 1, 3, 3, brackets=None, overlap=True).build(sampler(), 1)
    jobs = scheduler.ask(7)
    for job in jobs[3:6] + jobs[:3]:
        scheduler.tell(judge(1)(job))
    assert [(job.trial.bracket, job.rung) for job in scheduler.ask(3)] == [(0, 1), (1, 1), (2, 0)]


@pytest.mark.parametrize(("available", "sizes"), [(20, [20, 6, 2]), (5, [5, 1, 1]), (1, [1, 1, 1])])
def test_a_bracket_for_which_there_are_too_few_trials_still_ends_in_a_fully_trained_one(
    available: int, sizes: list[int]
):
    history = search(SuccessiveHalving(27, 1, 9, 3).build(supernets(available), 1), judge(1), slots=4, seed=1)
    assert [sum(job.rung == rung for job in history.jobs) for rung in range(3)] == sizes


def test_failures_do_not_shrink_the_rungs_above():
    scheduler = SuccessiveHalving(27, 1, 9, 3).build(sampler(), 1)

    def result(job: Job):
        return judge(1, float(job.rung == 0 and job.trial.trial_id < 20))(job)

    history = search(scheduler, result, slots=4, seed=1)
    assert [sum(job.rung == rung for job in history.jobs) for rung in range(3)] == [27, 7, 3]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: SuccessiveHalving(8, 1, 9, 3), "trials"),
        (lambda: SuccessiveHalving(9, 1, 9, 1), "eta"),
        (lambda: SuccessiveHalving(9, 0, 9, 3), "min_resource"),
        (lambda: SuccessiveHalving(9, 10, 9, 3), "max_resource"),
        (lambda: SuccessiveHalving(9, 1, 9, 3, early_stopping_rate=3), "early_stopping_rate"),
        (lambda: SuccessiveHalving(9, 1, 9, 3, brackets=0), "brackets"),
        (lambda: Hyperband(9, 3, iterations=0), "iterations"),
        (lambda: Hyperband(9, 3, rounding="up"), "rounding"),
        (lambda: Hyperband(9, 1), "eta"),
        (lambda: FullTraining(0, 9), "trials"),
        (lambda: FullTraining(1, -1), "max_resource"),
    ],
)
def test_an_unusable_option_is_named(make: Callable[[], object], key: str):
    with pytest.raises(OptionError) as error:
        make()
    assert error.value.key == key


def test_full_training_gives_each_trial_the_whole_resource():
    jobs = FullTraining(5, 9).build(sampler(), 1).ask(99)
    assert [(job.rung, job.resource) for job in jobs] == [(0, 9)] * 5
