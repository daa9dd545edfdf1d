"""The laws of `core.SearchSpace`, held for every space. A new space is one line in `SPACES`."""

from __future__ import annotations

import pickle
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.evaluation.training import Training
from spark_nas.spaces.core import SUPERNET, Architecture, SearchSpace
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.enas_macro import EnasMacro
from spark_nas.spaces.enas_micro import EnasMicro
from spark_nas.spaces.enas_rnn import EnasRnn
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.proxyless import Proxyless
from spark_nas.spaces.recipes import RecipeSpace
from spark_nas.spaces.table import TableRows
from spark_nas.spaces.wide_resnet import WideResNet

SPACES = {
    "darts": Darts(),
    "darts_rnn": DartsRnn(),
    "enas_macro": EnasMacro(),
    "enas_micro": EnasMicro(),
    "enas_rnn": EnasRnn(),
    "mlp": Mlp(),
    "nas_bench_201": NasBench201(),
    "proxyless": Proxyless(),
    "table_rows": TableRows(rows=30),
    "wide_resnet": WideResNet(),
}
SEEDS = st.integers(0, 2**31)


@pytest.fixture(params=sorted(SPACES), scope="module")
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SPACES[request.param].build()


def one_hot(space: SearchSpace, architecture: Architecture) -> dict[str, dict[str, float]]:
    return {c.name: {o: float(architecture[c.name] == o) for o in c.options} for c in space.choices}


class TestSpace:
    """One law a test."""

    def test_it_is_a_search_space(self, space: SearchSpace):
        assert isinstance(space, SearchSpace)

    def test_it_is_called_as_in_experiment_files(self, space: SearchSpace):
        assert space.name in SPACES

    @given(seed=SEEDS)
    @settings(max_examples=30, deadline=None)
    def test_samples_are_complete_and_contained(self, space: SearchSpace, seed: int):
        architecture = space.sample(Random(seed))
        assert set(architecture) == {choice.name for choice in space.choices}
        assert space.contains(architecture)

    @given(seed=SEEDS)
    @settings(max_examples=30, deadline=None)
    def test_mutants_are_complete_contained_and_different(self, space: SearchSpace, seed: int):
        rng = Random(seed)
        parent = space.sample(rng)
        mutant = space.mutate(parent, rng)
        assert set(mutant) == set(parent)
        assert space.contains(mutant)
        assert (mutant != parent) == bool(space.choices)

    @given(seed=SEEDS)
    @settings(max_examples=15, deadline=None)
    def test_mutants_are_neighbours_and_neighbours_are_distinct(self, space: SearchSpace, seed: int):
        rng = Random(seed)
        parent = space.sample(rng)
        neighbours = list(space.neighbours(parent))
        assert len(set(neighbours)) == len(neighbours)
        assert all(space.contains(neighbour) for neighbour in neighbours)
        assert parent not in neighbours
        assert not space.choices or space.mutate(parent, rng) in neighbours

    @given(seed=SEEDS)
    @settings(max_examples=10, deadline=None)
    def test_neighbourhood_is_mutual(self, space: SearchSpace, seed: int):
        rng = Random(seed)
        parent = space.sample(rng)
        assert not space.choices or parent in space.neighbours(space.mutate(parent, rng))

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_decoding_certainty_gives_it_back(self, space: SearchSpace, seed: int):
        architecture = space.sample(Random(seed))
        assert space.decode(one_hot(space, architecture)) == architecture

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_decode_is_contained_whatever_the_probabilities(self, space: SearchSpace, seed: int):
        rng = Random(seed)
        decoded = space.decode({c.name: {o: rng.random() for o in c.options} for c in space.choices})
        assert space.contains(decoded)
        assert len(decoded) == len(space.choices)

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_the_same_random_state_gives_the_same_answers(self, space: SearchSpace, seed: int):
        def answers() -> list[Architecture]:
            rng = Random(seed)
            parent = space.sample(rng)
            return [parent, space.mutate(parent, rng), space.sample(rng)]

        assert answers() == answers()

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_the_encoding_is_one_hot_over_all_choices(self, space: SearchSpace, seed: int):
        architecture = space.sample(Random(seed))
        bits = iter(space.encode(architecture))
        for choice in space.choices:
            assert [float(architecture[choice.name] == option) for option in choice.options] == [
                next(bits) for _ in choice.options
            ]
        assert list(bits) == []

    def test_the_supernet_is_contained_and_encoded_as_zeros(self, space: SearchSpace):
        assert space.contains(SUPERNET)
        assert set(space.encode(SUPERNET)) <= {0.0}
        assert isinstance(space.canonical(SUPERNET), str)

    def test_an_unknown_choice_or_option_is_not_contained(self, space: SearchSpace):
        assert not space.contains(Architecture({"no such choice": "none"}))
        for choice in space.choices[:1]:
            assert not space.contains(Architecture({choice.name: "no such option"}))

    @given(seed=SEEDS)
    @settings(max_examples=20, deadline=None)
    def test_equal_architectures_share_the_canonical_key(self, space: SearchSpace, seed: int):
        architecture = space.sample(Random(seed))
        assert space.canonical(Architecture.from_json(architecture.to_json())) == space.canonical(architecture)

    def test_the_size_is_positive(self, space: SearchSpace):
        size = space.size()
        assert size is None or size >= 1

    def test_it_survives_pickling(self, space: SearchSpace):
        copy = pickle.loads(pickle.dumps(space))
        assert copy.sample(Random(1)) == space.sample(Random(1))


@pytest.mark.parametrize("name", sorted(SPACES))
def test_the_default_recipe_is_a_recipe_space(name: str):
    recipes = RecipeSpace(SPACES[name].default_recipe())
    assert recipes.contains(recipes.sample(Random(1)))


@pytest.mark.parametrize("name", sorted(set(SPACES) - {"table_rows"}))
def test_a_drawing_exists_of_children_and_of_the_supernet(name: str):
    options = SPACES[name]
    recipe = RecipeSpace(options.default_recipe()).sample(Random(1))
    child = options.graph(options.build().sample(Random(1)), recipe)
    supernet = options.graph(SUPERNET, recipe)
    assert len(child.nodes) == len(supernet.nodes) >= 2
    assert len(child.edges) <= len(supernet.edges)
    assert "none" not in {edge.label for edge in child.edges}


@pytest.mark.parametrize("name", sorted(set(SPACES) - {"table_rows"}))
def test_every_dimension_of_the_default_recipe_is_known_to_the_space_or_the_training(name: str):
    options = SPACES[name]
    Training().check_recipe(options.default_recipe(), options.recipe_keys)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("darts", "channels"),
        ("darts_rnn", "hidden"),
        ("enas_rnn", "hidden"),
        ("nas_bench_201", "cells"),
        ("wide_resnet", "depth"),
    ],
)
def test_a_recipe_may_set_the_scale_of_a_network(name: str, key: str):
    Training().check_recipe({key: 3}, SPACES[name].recipe_keys)
