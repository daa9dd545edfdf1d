"""Laws of random search."""

from __future__ import annotations

from collections import Counter
from math import comb
from random import Random

import pytest
from hypothesis import given, settings

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.spaces.core import Architecture
from tests.strategies import PlainRecipes, PlainSpace, plain_space, spaces


class Folded:
    """A space in which the first choice makes no difference to the network."""

    def __init__(self, inner: PlainSpace):
        self._inner = inner
        self.sample, self.neighbours, self.size = inner.sample, inner.neighbours, inner.size

    def canonical(self, architecture: Architecture):
        return "".join(option for name, option in architecture.items() if name != "a")


class Skewed(PlainRecipes):
    """A finite recipe whose last value is all but impossible to draw."""

    def sample(self, rng: Random):
        return {"learning_rate": self.rates[0] if rng.random() < 1 - 1e-12 else self.rates[1]}


def drain(sampler: Sampler):
    proposals = []
    while (proposal := sampler.suggest()) is not None:
        proposals.append((proposal.architecture, tuple(proposal.recipe.items())))
    return proposals


@given(spaces())
@settings(max_examples=40)
def test_a_finite_space_is_exhausted_exactly(space: PlainSpace):
    recipes = PlainRecipes((0.1, 0.2))
    proposals = drain(RandomSearch(max_attempts=3).build(space, recipes, 1))
    assert len(proposals) == len(set(proposals)) == space.size() * 2


def test_networks_that_are_the_same_are_proposed_once():
    sampler = RandomSearch(max_attempts=5).build(Folded(plain_space(4, 3, 2)), PlainRecipes(), 1)
    assert len(drain(sampler)) == 6


def test_a_spent_sampler_stays_spent():
    sampler = RandomSearch(max_attempts=5).build(plain_space(2, 2), PlainRecipes(), 1)
    drain(sampler)
    assert [sampler.suggest() for _ in range(3)] == [None] * 3


def test_a_recipe_too_rare_to_be_drawn_does_not_hang_the_search():
    sampler = RandomSearch(max_attempts=5).build(plain_space(2, 2), Skewed((0.1, 0.2)), 1)
    assert len(drain(sampler)) == 4


def test_a_space_of_unknown_size_is_given_up_after_so_many_known_draws():
    space = Folded(plain_space(1, 3))
    space.size = lambda: None
    assert len(drain(RandomSearch(max_attempts=200).build(space, PlainRecipes(), 1))) == 3


def test_with_replacement_there_is_no_end():
    sampler = RandomSearch(replacement=True).build(plain_space(2), PlainRecipes(), 1)
    assert len({sampler.suggest().architecture for _ in range(50)}) == 2


def test_the_best_of_n_draws_without_replacement_has_its_exact_distribution():
    space, n, repetitions = plain_space(4, 4, 2), 8, 3000
    total = space.size()
    order = sorted({space.sample(Random(i)) for i in range(2000)}, key=space.canonical)
    assert len(order) == total
    rank = {architecture: i for i, architecture in enumerate(order, 1)}  # 1 is the best
    counts = Counter()
    for seed in range(repetitions):
        sampler = RandomSearch().build(space, PlainRecipes(), seed)
        counts[min(rank[sampler.suggest().architecture] for _ in range(n))] += 1
    expected = {i: repetitions * comb(total - i, n - 1) / comb(total, n) for i in range(1, total - n + 2)}
    head = [i for i, value in expected.items() if value >= 10]
    tail = repetitions - sum(counts[i] for i in head), repetitions - sum(expected[i] for i in head)
    chi_square = sum((counts[i] - expected[i]) ** 2 / expected[i] for i in head) + (tail[0] - tail[1]) ** 2 / tail[1]
    assert chi_square < len(head) + 4 * (2 * len(head)) ** 0.5


def test_the_last_ones_of_an_enumerated_space_come_in_random_order():
    lasts = Counter(
        drain(RandomSearch(max_attempts=1).build(plain_space(4), PlainRecipes(), seed))[-1] for seed in range(800)
    )
    assert sum((count - 200) ** 2 / 200 for count in lasts.values()) < 16.3  # 0.1 % with 3 degrees of freedom


def test_no_attempts_at_all_is_refused():
    with pytest.raises(OptionError, match="max_attempts: 0: must be at least 1"):
        RandomSearch(max_attempts=0)
