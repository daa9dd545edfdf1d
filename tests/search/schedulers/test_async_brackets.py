"""How asynchronous Hyperband shares trials among its brackets."""

from __future__ import annotations

from collections import Counter

import numpy as np

from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from tests.strategies import PlainRecipes, judge, plain_space, search


def sampler():
    return RandomSearch(replacement=True).build(plain_space(5, 5, 5), PlainRecipes(()), 1)


def test_a_finite_asynchronous_hyperband_fills_its_shares():
    options = AsynchronousHyperband(max_resource=200, eta=4, trials=128, mode="standard", max_rungs=5)
    jobs = search(options.build(sampler(), 1), judge(1), slots=4, seed=1).jobs
    assert Counter(job.trial.bracket for job in jobs if job.rung == 0) == {0: 89, 1: 29, 2: 10}


def test_proportional_allocation_draws_brackets_by_hyperbands_numbers():
    options = AsynchronousHyperband(max_resource=81, eta=3, allocation="proportional")
    counts = Counter(job.trial.bracket for job in options.build(sampler(), 1).ask(4000))
    weights = np.array([81, 34, 15, 8, 5])
    expected = 4000 * weights / weights.sum()
    chi_square = sum((counts[b] - expected[b]) ** 2 / expected[b] for b in range(5))
    assert chi_square < 18.5  # 0.1 % quantile with 4 degrees of freedom


def test_exponential_allocation_draws_brackets_by_e_to_their_rungs():
    counts = Counter(
        job.trial.bracket
        for job in AsynchronousHyperband(max_resource=9, eta=3, allocation="exponential").build(sampler(), 1).ask(4000)
    )
    weights = np.exp([3, 2, 1])
    expected = 4000 * weights / weights.sum()
    assert sum((counts[b] - expected[b]) ** 2 / expected[b] for b in range(3)) < 13.8


def test_round_robin_allocation_spends_about_the_same_in_every_bracket():
    options = AsynchronousHyperband(max_resource=27, eta=3, allocation="round_robin")
    history = search(options.build(sampler(), 1), judge(1), slots=4, seed=1, most=2000)
    spent, before = Counter(), {}
    for job in history.jobs:
        spent[job.trial.bracket] += job.resource - before.get(job.trial.trial_id, 0)
        before[job.trial.trial_id] = job.resource
    assert max(spent.values()) - min(spent.values()) <= 3 * 27


def test_smallest_floor_allocation_trains_fully_in_proportion_to_one_over_the_rungs():
    options = AsynchronousHyperband(max_resource=9, eta=3, allocation="smallest_floor")
    scheduler = options.build(sampler(), 1)
    search(scheduler, judge(1), slots=1, seed=1, most=1500)
    floors = [b.completed * len(b.rungs) // 3 for b in scheduler.brackets]
    assert min(floors) > 20
    assert max(floors) - min(floors) <= 1


def test_brackets_do_not_share_rungs():
    scheduler = AsynchronousHyperband(max_resource=9, eta=3, trials=60).build(sampler(), 1)
    history = search(scheduler, judge(1), slots=6, seed=1)
    counts = Counter((job.trial.bracket, job.rung) for job in history.jobs)
    assert {
        (b.number, k): rung.size for b in scheduler.brackets for k, rung in enumerate(b.rungs) if rung.size
    } == counts
    assert scheduler.closed_rungs == (3, 2, 1)
