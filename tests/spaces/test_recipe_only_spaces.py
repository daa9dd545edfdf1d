"""The MLP and the Wide ResNet: spaces in which only the recipe varies."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.mlp import ACTIVATIONS, Mlp
from spark_nas.spaces.recipes import RecipeSpace
from spark_nas.spaces.settings import fraction
from spark_nas.spaces.wide_resnet import WideResNet


def test_the_dimensions_of_hyperparameter_search_are_all_there():
    recipe = RecipeSpace(Mlp(max_layers=3).default_recipe())
    units = {"units_1", "units_2", "units_3"}
    others = {"layers", "activation", "dropout", "weight_decay", "learning_rate", "batch_size"}
    assert set(recipe.names) == units | others


def test_there_are_as_many_widths_as_layers():
    options = Mlp(max_layers=4)
    recipes, rng = RecipeSpace(options.default_recipe()), Random(1)
    for _ in range(100):
        recipe = recipes.sample(rng)
        assert len(options.hidden_units(recipe)) == recipe["layers"] == sum("units_" in name for name in recipe)


def test_one_width_serves_all_layers():
    assert Mlp().hidden_units({"layers": 3, "units": 20, "units_2": 7}) == (20, 7, 20)


def test_an_mlp_of_one_layer_at_most_has_no_condition():
    assert RecipeSpace(Mlp(max_layers=1).default_recipe()).sample(Random(1))["layers"] == 1


def test_wide_resnet_searches_the_published_grids():
    assert RecipeSpace(WideResNet().default_recipe()).size() == 7 * 4 * 7 * 3


def test_the_recipe_overrides_depth_and_width():
    assert WideResNet().blocks({"depth": 22}) == 3
    assert WideResNet().widths({"width": 1}) == (16, 32, 64)


def test_the_mlp_is_drawn_layer_by_layer():
    graph = Mlp().graph(SUPERNET, {"layers": 2, "units": 8, "activation": "tanh"})
    assert [node.label for node in graph.nodes] == ["input", "8 units", "8 units", "classes"]
    assert [edge.label for edge in graph.edges] == ["", "tanh", "tanh"]


def test_the_wide_resnet_is_drawn_block_by_block():
    graph = WideResNet(depth=10, width=1).graph(SUPERNET, {})
    assert [edge.label for edge in graph.edges if edge.label] == ["identity", "conv 1x1", "conv 1x1"]


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: WideResNet(depth=17), "depth"),
        (lambda: WideResNet(depth=4), "depth"),
        (lambda: WideResNet(width=0), "width"),
        (lambda: WideResNet().blocks({"depth": 12}), "depth"),
        (lambda: Mlp(max_layers=0), "max_layers"),
        (lambda: Mlp(min_units=64, max_units=64), "max_units"),
        (lambda: Mlp(max_layers=101), "max_layers"),
        (lambda: Mlp().activation({"activation": "rleu"}), "activation"),
        (lambda: Mlp().hidden_units({"layers": -1}), "layers"),
        (lambda: Mlp().hidden_units({"layers": 101}), "layers"),
        (lambda: Mlp().hidden_units({"layers": 1, "units_1": 2.5}), "units_1"),
    ],
)
def test_an_unusable_value_is_named(make: Callable[[], object], key: str):
    with pytest.raises(OptionError) as caught:
        make()
    assert caught.value.key == key


def test_a_misspelt_activation_is_answered_with_the_nearest():
    with pytest.raises(OptionError, match="did you mean 'relu'"):
        Mlp().activation({"activation": "rleu"})
    assert Mlp().activation({}) == ACTIVATIONS[0]


@pytest.mark.parametrize(
    ("nodes", "edges"),
    [(("a", "a"), ()), (("a", "b"), (("b", "a"),)), (("a", "b"), (("a", "c"),)), (("a",), (("a", "a"),))],
)
def test_a_graph_that_is_not_one_cannot_exist(nodes: tuple[str, ...], edges: tuple[tuple[str, str], ...]):
    with pytest.raises(ValueError, match=r"graph|edge"):
        Graph(tuple(Node(n, n) for n in nodes), tuple(Edge(a, b) for a, b in edges))


@pytest.mark.parametrize("dropout", [1.0, -0.1, "half", True])
def test_a_probability_that_is_none_is_named(dropout: float | str | bool):
    with pytest.raises(OptionError, match="dropout"):
        fraction({"dropout": dropout}, "dropout", 0.0)
