"""Laws of the recurrent DARTS space beyond the contract."""

from __future__ import annotations

from collections import Counter
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts_rnn import ACTIVATIONS, OPERATIONS, DartsRnn, choice_name, kept
from spark_nas.spaces.darts_rnn_genotype import from_genotype, to_genotype

SMALL = DartsRnn(nodes=3)
SPACE = DartsRnn().build()
DARTS_V1 = (
    "Genotype(recurrent=[('relu', 0), ('relu', 1), ('tanh', 2), ('relu', 3), ('relu', 4), ('identity', 1), "
    "('relu', 5), ('relu', 1)], concat=range(1, 9))"
)
DARTS_V2 = (
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), ('sigmoid', 5), "
    "('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)


def test_the_size_is_the_papers():
    assert SPACE.size() == 2_642_411_520
    assert len(SPACE.choices) == 36


def test_the_size_counts_the_complete_architectures_that_are_contained():
    space = SMALL.build()
    names = [choice.name for choice in space.choices]
    complete = (Architecture(dict(zip(names, options, strict=True))) for options in product(OPERATIONS, repeat=6))
    assert space.size() == sum(space.contains(architecture) for architecture in complete)


def test_predecessors_and_activations_are_sampled_uniformly():
    rng = Random(1)
    edges = Counter(kept(SMALL.build().sample(rng), 3) for _ in range(3000))
    assert set(edges) == set(product(range(3), ACTIVATIONS))
    assert stats.chisquare(list(edges.values())).pvalue > 0.01


def test_a_node_has_exactly_one_operation_once_all_its_edges_are_decided():
    assert SPACE.contains(Architecture({"0->2": "none"}))
    assert not SPACE.contains(Architecture({"0->1": "none"}))
    assert not SPACE.contains(Architecture({"0->2": "none", "1->2": "none"}))
    assert not SPACE.contains(Architecture({"0->3": "tanh", "1->3": "relu"}))


def test_there_is_a_neighbour_for_every_other_activation_and_predecessor():
    assert len(list(SPACE.neighbours(SPACE.sample(Random(1))))) == sum(3 + node - 1 for node in range(1, 9))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_decode_is_the_best_of_all_valid_nodes(seed: int):
    rng = Random(seed)
    weights = {choice.name: {option: rng.random() for option in OPERATIONS} for choice in SPACE.choices}
    decoded = SPACE.decode(weights)
    for node in range(1, 9):
        best = max(weights[choice_name(source, node)][f] for source in range(node) for f in ACTIVATIONS)
        source, activation = kept(decoded, node)
        assert best == weights[choice_name(source, node)][activation]


def test_none_never_wins_and_ties_go_to_the_earlier_source_and_activation():
    weights = {c.name: {o: 0.99 if o == "none" else 0.001 for o in OPERATIONS} for c in SPACE.choices}
    assert [(0, "tanh")] * 8 == [kept(SPACE.decode(weights), node) for node in range(1, 9)]


@given(st.integers(0, 10_000), st.integers(1, 8))
@settings(max_examples=50, deadline=None)
def test_the_notation_round_trips(seed: int, nodes: int):
    options = DartsRnn(nodes=nodes)
    architecture = options.build().sample(Random(seed))
    assert from_genotype(to_genotype(architecture, options), options) == architecture


@pytest.mark.parametrize("text", [DARTS_V1, DARTS_V2])
def test_published_cells_round_trip(text: str):
    architecture = from_genotype(text)
    assert SPACE.contains(architecture)
    assert text == to_genotype(architecture)


def test_the_published_cell_is_read():
    edges = {name: option for name, option in from_genotype(DARTS_V2).items() if option != "none"}
    expected = {"0->1": "sigmoid", "1->2": "relu", "1->3": "relu", "1->4": "identity"}
    assert {**expected, "2->5": "tanh", "5->6": "sigmoid", "3->7": "tanh", "5->8": "relu"} == edges
    assert from_genotype(DARTS_V2) == from_genotype(DARTS_V2.replace("range(1, 9)", "[1, 2, 3, 4, 5, 6, 7, 8]"))


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(",
        "Genotype(concat=range(1, 9))",
        "Genotype([('tanh', 0)] * 8, concat=range(1, 9))",
        "__import__('os')",
        DARTS_V2.replace("identity", "selu"),
        DARTS_V2.replace("identity", "none"),
        DARTS_V2.replace("('relu', 5)", "('relu', 8)"),
        DARTS_V2.replace("('relu', 5)", "('relu', -1)"),
        DARTS_V2.replace("('relu', 5)", "('relu', '5')"),
        DARTS_V2.replace("('relu', 5)", "open('x')"),
        DARTS_V2.replace(", ('relu', 5)", ""),
        DARTS_V2.replace("concat=range(1, 9)", "concat=range(2, 9)"),
        DARTS_V2.replace(", concat=range(1, 9)", ""),
    ],
)
def test_text_that_is_no_cell_of_the_space_is_refused(text: str):
    with pytest.raises(OptionError):
        from_genotype(text)


def test_renumbered_nodes_share_the_canonical_key():
    def cell(*edges: tuple[int, str]) -> Architecture:
        return SMALL.build().cell(dict(enumerate(edges, start=1)))

    chain_first = cell((0, "tanh"), (1, "relu"), (0, "sigmoid"))
    chain_last = cell((0, "sigmoid"), (0, "tanh"), (2, "relu"))
    other = cell((0, "tanh"), (0, "sigmoid"), (2, "relu"))
    canonical = SMALL.build().canonical
    assert canonical(chain_first) == canonical(chain_last)
    assert canonical(chain_first) != canonical(other)


def test_the_drawing_has_an_edge_a_node_and_two_that_come_in_and_eight_that_leave():
    graph = DartsRnn().graph(from_genotype(DARTS_V2), {})
    assert [edge.label for edge in graph.edges if edge.source == "1" and edge.label] == ["relu", "relu", "identity"]
    assert len(graph.edges) == 2 + 8 + 8
    assert {edge.label for edge in DartsRnn().graph(Architecture(), {}).edges} == {"", "?"}


def test_a_recipe_overrides_the_scale_and_the_rates():
    scale = DartsRnn().scale({"hidden": 20, "dropout_hidden": 0.5})
    assert (20, 20, 0.75, 0.5) == (scale.hidden, scale.embedding, scale.dropout_output, scale.dropout_hidden)
    assert DartsRnn().scale({"embedding": 7}).embedding == 7
    with pytest.raises(OptionError, match="dropout_input"):
        DartsRnn().check({"dropout_input": 1.0})


@pytest.mark.parametrize("options", [{"hidden": 0}, {"embedding": -1}, {"dropout_output": 1.0}, {"nodes": 0}])
def test_an_unusable_option_is_named(options: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        DartsRnn(**options)
    assert caught.value.key in options
