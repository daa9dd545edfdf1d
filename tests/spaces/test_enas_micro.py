"""Laws of the ENAS micro space beyond the contract."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.enas_micro import (
    CELLS,
    OPERATIONS,
    SIDES,
    EnasMicro,
    choice_name,
    from_arc,
    loose_ends,
    to_arc,
)

SPACE = EnasMicro().build()
PUBLISHED = (
    "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1 "  # normal
    "1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"  # reduction
)
"""What the authors' script for the final training of the micro search trains."""


def renumbered(architecture: Architecture, cell: str, rng: Random, nodes: int = 5) -> Architecture:
    """The same graph: the nodes in another order that respects who reads whom, the sides of some exchanged."""
    place = {"0": "0", "1": "1"}
    decisions = dict(architecture)
    for number in range(2, 2 + nodes):
        ready = [
            node
            for node in range(2, 2 + nodes)
            if str(node) not in place
            and all(architecture[choice_name(cell, node, side, "input")] in place for side in SIDES)
        ]
        node = rng.choice(ready)
        place[str(node)] = str(number)
        for old, new in zip(SIDES, rng.sample(SIDES, 2), strict=True):
            source = architecture[choice_name(cell, node, old, "input")]
            decisions[choice_name(cell, number, new, "input")] = place[source]
            decisions[choice_name(cell, number, new, "operation")] = architecture[
                choice_name(cell, node, old, "operation")
            ]
    return Architecture(decisions)


def test_a_node_chooses_two_inputs_among_the_earlier_states_and_two_of_five_operations():
    normal = [choice for choice in SPACE.choices if choice.name.startswith("normal/")]
    assert len(SPACE.choices) == 40
    assert [(c.name, len(c.options)) for c in normal[4:8]] == [
        ("normal/node3/left/input", 3),
        ("normal/node3/right/input", 3),
        ("normal/node3/left/operation", 5),
        ("normal/node3/right/operation", 5),
    ]


def test_the_size_is_that_of_two_cells_of_five_nodes():
    per_cell = 5**10 * (2 * 3 * 4 * 5 * 6) ** 2
    assert SPACE.size() == per_cell**2 == 25_628_906_250_000_000_000_000_000


def test_the_published_cells_are_read():
    architecture = from_arc(PUBLISHED)
    assert SPACE.contains(architecture)
    assert len(architecture) == 40
    first = {name: option for name, option in architecture.items() if name.startswith("normal/node2/")}
    assert first == {
        "normal/node2/left/input": "0",
        "normal/node2/left/operation": "avg_pool_3x3",
        "normal/node2/right/input": "0",
        "normal/node2/right/operation": "sep_conv_3x3",
    }
    assert architecture["reduction/node4/right/input"] == "3"
    assert loose_ends(architecture, "normal", 5) == (2, 3, 4, 5, 6)
    assert loose_ends(architecture, "reduction", 5) == (2, 4, 5, 6)
    assert to_arc(architecture) == PUBLISHED


@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_the_notation_round_trips(seed: int, nodes: int):
    architecture = EnasMicro(nodes=nodes).build().sample(Random(seed))
    assert from_arc(to_arc(architecture)) == architecture


def test_what_nobody_reads_is_a_loose_end_also_an_input_of_the_cell():
    # Node 2 reads 1 and 1, node 3 reads 2 and 1.
    cell = from_arc("1 0 1 0 2 0 1 0  0 0 1 0 0 0 1 0")
    assert loose_ends(cell, "normal", 2) == (0, 3)
    assert loose_ends(cell, "reduction", 2) == (2, 3)


def test_states_that_an_open_input_may_leave_alone_may_be_loose():
    decided = Architecture({"normal/node2/left/input": "1", "normal/node2/left/operation": "identity"})
    assert loose_ends(decided, "normal", 3) == (0, 2, 3, 4)
    assert loose_ends(SUPERNET, "normal", 3) == (0, 1, 2, 3, 4)


@given(seed=st.integers(0, 10_000), cell=st.sampled_from(CELLS))
@settings(max_examples=40, deadline=None)
def test_one_graph_has_one_canonical_key_however_numbered_and_summed(seed: int, cell: str):
    rng = Random(seed)
    architecture = SPACE.sample(rng)
    assert SPACE.canonical(renumbered(architecture, cell, rng)) == SPACE.canonical(architecture)


def test_the_canonical_classes_of_two_nodes_are_the_graphs():
    """Counted by hand, with two operations: a node is an unordered pair of (input, operation).

    Node 3 apart from node 2: two of the 10 pairs over four terms, in no order. Node 3 after node 2: 10 times the
    pairs over six terms that hold one of the two of node 2.
    """
    space = EnasMicro(nodes=2).build()
    reduction = {name: option for name, option in space.sample(Random(1)).items() if name.startswith("reduction")}
    normal = {c.name: c.options[:2] if "op" in c.name else c.options for c in space.choices if "normal" in c.name}
    cells = [dict(zip(normal, options, strict=True)) for options in product(*normal.values())]
    keys = {space.canonical(Architecture({**reduction, **cell})) for cell in cells}
    assert len(cells) == 4**2 * 6**2
    assert len(keys) == 10 * 11 // 2 + 10 * (6 * 7 // 2 - 10)


def test_an_open_architecture_is_its_own_key():
    assert SPACE.canonical(SUPERNET) == "{}"


def test_parallel_operations_are_both_drawn_and_loose_ends_lead_to_the_output():
    graph = EnasMicro().graph(from_arc(PUBLISHED), {})
    into = [(edge.source, edge.label) for edge in graph.edges if edge.target == "reduction/2"]
    assert into == [("reduction/1", "sep_conv_3x3")] * 2
    outputs = [edge.source for edge in graph.edges if edge.target == "reduction/output"]
    assert outputs == ["reduction/2", "reduction/4", "reduction/5", "reduction/6"]
    assert len(graph.edges) == 2 * 10 + 5 + 4


def test_what_is_open_is_drawn_once_and_as_a_question():
    half = Architecture({"normal/node2/left/operation": "identity", "normal/node3/left/input": "1"})
    edges = EnasMicro(nodes=2).graph(half, {}).edges
    into = {n: [(e.source[-1], e.label) for e in edges if e.target == f"normal/{n}"] for n in (2, 3)}
    assert into[2] == [("0", "identity"), ("1", "identity"), ("0", "?"), ("1", "?")]
    assert into[3] == [("1", "?"), ("0", "?"), ("2", "?")]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0 0 0 0",
        PUBLISHED + " 0",
        PUBLISHED.replace("0 2", "0 x", 1),
        PUBLISHED.replace("0 2", "2 2", 1),
        PUBLISHED.replace("0 2", f"0 {len(OPERATIONS)}", 1),
        PUBLISHED.replace("0 2", "-1 2", 1),
    ],
)
def test_text_that_is_no_pair_of_cells_is_refused(text: str):
    with pytest.raises(OptionError) as caught:
        from_arc(text)
    assert caught.value.key == "arc"


@pytest.mark.parametrize(
    "options", [{"nodes": 0}, {"layers": 2}, {"filters": 0}, {"dropout": 1.0}, {"dropout": "0.1"}, {"nodes": 5.0}]
)
def test_an_unusable_option_is_named(options: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        EnasMicro(**options)  # type: ignore[arg-type]
    assert caught.value.key in options


def test_an_unusable_recipe_is_named():
    with pytest.raises(OptionError, match="layers"):
        EnasMicro().check({"layers": 1})
