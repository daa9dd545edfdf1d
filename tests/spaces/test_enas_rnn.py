"""Laws of the recurrent ENAS space beyond the contract."""

from __future__ import annotations

import math
from itertools import product

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.enas_rnn import ACTIVATIONS, EnasRnn, activation_name, input_name

SMALL = EnasRnn(nodes=4)


def cell(sources: tuple[int, ...], activations: str) -> Architecture:
    """Sources of the nodes from 2 on, and activations of all by their first letters."""
    names = {"t": "tanh", "r": "relu", "s": "sigmoid", "i": "identity"}
    inputs = {input_name(node): str(source) for node, source in enumerate(sources, start=2)}
    return Architecture({**inputs, **{activation_name(n): names[f] for n, f in enumerate(activations, start=1)}})


def test_a_node_may_read_all_earlier_ones_and_node_1_has_no_choice_of_what_it_reads():
    options = {choice.name: choice.options for choice in EnasRnn().build().choices}
    assert input_name(1) not in options
    assert all(options[input_name(n)] == tuple(str(source) for source in range(1, n)) for n in range(2, 13))
    assert all(options[activation_name(n)] == ACTIVATIONS for n in range(1, 13))


def test_there_are_4_to_the_n_times_n_minus_1_factorial_cells():
    assert EnasRnn().build().size() == 4**12 * math.factorial(11)


def test_the_size_counts_the_complete_architectures():
    sources = list(product((1,), (1, 2), (1, 2, 3)))
    architectures = {cell(s, "".join(f)) for s in sources for f in product("trsi", repeat=4)}
    assert all(SMALL.build().contains(architecture) for architecture in architectures)
    assert SMALL.build().size() == len(architectures)


def test_renumbered_nodes_share_the_canonical_key():
    canonical = SMALL.build().canonical
    assert canonical(cell((1, 1, 2), "tris")) == canonical(cell((1, 1, 3), "tirs"))
    assert canonical(cell((1, 1, 2), "tris")) != canonical(cell((1, 1, 3), "tris"))
    assert canonical(cell((1, 1, 2), "tris")) != canonical(cell((1, 1, 2), "rris"))


def test_the_drawing_leads_the_loose_ends_to_the_output():
    graph = SMALL.graph(cell((1, 1, 3), "tris"), {})
    assert ["2", "4"] == [edge.source for edge in graph.edges if edge.target == "output"]
    assert [("1", "relu"), ("1", "identity"), ("3", "sigmoid")] == [
        (edge.source, edge.label) for edge in graph.edges if edge.source.isdigit() and edge.target != "output"
    ]


def test_the_drawing_of_an_open_cell_has_all_it_may_become():
    graph = SMALL.graph(Architecture({input_name(3): "2"}), {})
    assert ["1", "3", "4"] == [edge.source for edge in graph.edges if edge.target == "output"]
    assert ["1", "2", "3"] == [edge.source for edge in graph.edges if edge.target == "4"]
    assert ["2"] == [edge.source for edge in graph.edges if edge.target == "3"]
    assert {edge.label for edge in graph.edges} == {"?", ""}


@pytest.mark.parametrize("options", [{"hidden": 0}, {"dropout_between": -0.1}, {"nodes": 0}])
def test_an_unusable_option_is_named(options: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        EnasRnn(**options)
    assert caught.value.key in options
