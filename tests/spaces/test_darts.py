"""Laws of the DARTS space beyond the contract."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations, product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import CELLS, NODES, OPERATIONS, Darts, choice_name
from spark_nas.spaces.darts_genotype import from_genotype, to_genotype

SPACE = Darts().build()
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=[2, 3, 4, 5])"
)


def test_there_are_fourteen_edges_a_cell_and_eight_operations_an_edge():
    assert Counter(choice.name.split("/")[0] for choice in SPACE.choices) == {"normal": 14, "reduction": 14}
    assert {choice.options for choice in SPACE.choices} == {OPERATIONS}


def test_the_size_counts_the_valid_assignments_of_every_node():
    def valid(node: int) -> int:
        return sum(sum(op > 0 for op in ops) <= 2 for ops in product(range(len(OPERATIONS)), repeat=node))

    assert SPACE.size() == math.prod(valid(node) for node in NODES) ** 2


def test_predecessors_and_operations_are_sampled_uniformly():
    rng, pairs, operations = Random(1), Counter(), Counter()
    names = [choice_name("normal", source, 3) for source in range(3)]
    for _ in range(3000):
        architecture = SPACE.sample(rng)
        kept = [name for name in names if architecture[name] != "none"]
        operations.update(architecture[name] for name in kept)
        if len(kept) == 2:
            pairs[tuple(kept)] += 1
    assert len(pairs) == 3
    assert stats.chisquare(list(pairs.values())).pvalue > 0.01
    assert stats.chisquare([operations[op] for op in OPERATIONS[1:]]).pvalue > 0.01
    # Two operations a node, each one of eight with `none` among them.
    assert sum(operations.values()) / 6000 == pytest.approx(7 / 8, abs=0.02)


def weights_of_node(draw_seed: int) -> dict[str, dict[str, float]]:
    rng = Random(draw_seed)
    return {choice.name: {option: rng.random() for option in choice.options} for choice in SPACE.choices}


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_decode_is_the_best_of_all_valid_nodes(seed: int):
    probabilities = weights_of_node(seed)
    decoded = SPACE.decode(probabilities)
    for cell, node in product(CELLS, NODES):
        edges = [choice_name(cell, source, node) for source in range(node)]
        candidates = [
            (probabilities[a][x] + probabilities[b][y], {a: x, b: y})
            for a, b in combinations(edges, 2)
            for x, y in product(OPERATIONS[1:], repeat=2)
        ]
        best = max(candidates, key=lambda candidate: candidate[0])[1]
        assert best == {name: decoded[name] for name in edges if decoded[name] != "none"}


def test_none_never_wins_an_edge_however_probable():
    probabilities = {c.name: {o: 0.99 if o == "none" else 0.001 for o in OPERATIONS} for c in SPACE.choices}
    decoded = SPACE.decode(probabilities)
    assert sum(option != "none" for option in decoded.values()) == 16


def test_a_third_operation_at_a_node_is_not_contained():
    third = {choice_name("normal", source, 4): "skip_connect" for source in range(3)}
    assert not SPACE.contains(Architecture(third))
    assert SPACE.contains(Architecture(dict(list(third.items())[:2])))


@given(st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_the_notation_round_trips(seed: int):
    architecture = SPACE.sample(Random(seed))
    assert from_genotype(to_genotype(architecture)) == architecture


def test_the_published_cell_is_read():
    architecture = from_genotype(DARTS_V2)
    assert SPACE.contains(architecture)
    assert architecture["normal/2->5"] == "dil_conv_3x3"
    assert architecture["reduction/2->3"] == "skip_connect"
    assert architecture["normal/0->5"] == "skip_connect"
    assert sum(option != "none" for option in architecture.values()) == 16


def test_renumbered_nodes_share_the_canonical_key():
    def normal(first: str, second: str, source: int) -> Architecture:
        pairs = {"0->2": first, "1->2": "skip_connect", "0->3": second, f"{source}->4": "max_pool_3x3"}
        decided = {f"normal/{edge}": option for edge, option in pairs.items()}
        return Architecture({**{c.name: "none" for c in SPACE.choices}, **decided, "normal/1->3": "skip_connect"})

    left, right = normal("sep_conv_3x3", "sep_conv_5x5", 2), normal("sep_conv_5x5", "sep_conv_3x3", 3)
    assert SPACE.canonical(left) == SPACE.canonical(right)
    assert SPACE.canonical(left) != SPACE.canonical(normal("sep_conv_3x3", "sep_conv_5x5", 3))


@pytest.mark.parametrize(
    "text",
    [
        "Genotype(",
        "Genotype()",
        "__import__('os')",
        DARTS_V2.replace("dil_conv_3x3", "dil_conv_7x7"),
        DARTS_V2.replace("('sep_conv_3x3', 0), ('sep_conv_3x3', 1)", "('sep_conv_3x3', 0), ('sep_conv_3x3', 0)"),
        DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)"),
        DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', '2')"),
        DARTS_V2.replace(", ('dil_conv_3x3', 2)", ""),
        DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=[3, 4, 5]"),
        DARTS_V2.replace("reduce=", "reduction="),
        DARTS_V2.replace("('dil_conv_3x3', 2)", "open('x')"),
    ],
)
def test_text_that_is_no_cell_of_the_space_is_refused(text: str):
    with pytest.raises(OptionError):
        from_genotype(text)


@pytest.mark.parametrize("options", [{"layers": 2}, {"channels": 0}, {"layers": 8.0}, {"partial_channels": 0}])
def test_an_unusable_option_is_named(options: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        Darts(**options)
    assert caught.value.key in options


def test_partial_channels_must_divide_the_channels_of_options_and_recipe():
    with pytest.raises(OptionError, match="use a multiple of partial_channels, 4"):
        Darts(channels=6, partial_channels=4)
    Darts(channels=8, partial_channels=4).check({"channels": 12})
    with pytest.raises(OptionError, match="use a multiple of partial_channels, 4"):
        Darts(channels=8, partial_channels=4).check({"channels": 10})
