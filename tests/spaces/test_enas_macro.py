"""Laws of the ENAS macro space beyond the contract."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.enas_macro import EnasMacro, from_arc, to_arc

PUBLISHED = (
    "0 3 0 0 1 0 2 0 0 1 2 0 0 0 0 3 1 1 0 1 0 2 0 0 0 0 0 1 2 0 1 1 0 1 1 1 1 0 1 1 1 0 1 0 1 0 0 0 0 0 0 0 0 0 0 2 "
    "0 0 0 0 0 1 0 0 0 0 0 1 0 0 1 1 0 0 0 0 1 1 2 0 1 0 0 0 0 0 1 0 1 1 0 1 0 0 1 0 0 0 1 1 1 0 1 0 1 0 1 1 0 1 0 1 "
    "0 0 0 0 0 1 0 0 2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1 2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0 2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 "
    "0 0 1 3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0 3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1 0 1 0 0 1 0 1 1 0 0 0 1 0 0 "
    "0 0 0 1 1 0 0 3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0 0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0 0 1 1 0 "
    "0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0"
)
"""What the authors' script for the final training of the macro search trains: 24 layers."""


def test_the_size_is_that_of_the_paper():
    assert EnasMacro().build().size() == 6**12 * 2**66 == 160_618_186_625_454_535_808_756_219_904


def test_a_layer_may_add_every_state_but_the_one_that_it_reads():
    names = [choice.name for choice in EnasMacro().build().choices]
    assert len(names) == 12 + 66
    assert [name for name in names if name.startswith("layer1/")] == ["layer1/operation"]
    assert [name for name in names if name.startswith("layer4/")] == [
        "layer4/operation",
        "layer4/skip0",
        "layer4/skip1",
        "layer4/skip2",
    ]


@pytest.mark.parametrize(("layers", "expected"), [(3, (1, 2)), (12, (4, 8)), (14, (4, 8)), (24, (8, 16))])
def test_the_resolution_is_halved_after_a_third_and_two_thirds(layers: int, expected: tuple[int, int]):
    options = EnasMacro(layers=layers)
    assert expected == options.boundaries
    levels = [options.level(layer) for layer in range(1, layers + 1)]
    assert levels == [0] * expected[0] + [1] * (expected[1] - expected[0]) + [2] * (layers - expected[1])


def test_the_published_chain_is_read():
    architecture = from_arc(PUBLISHED)
    assert EnasMacro(layers=24).build().contains(architecture)
    assert len(architecture) == 24 * 25 // 2
    assert architecture["layer1/operation"] == "conv_3x3"
    assert architecture["layer2/operation"] == "sep_conv_5x5"
    assert [architecture[f"layer6/skip{state}"] for state in range(5)] == ["skip", "skip", "none", "skip", "none"]
    assert to_arc(architecture) == PUBLISHED


@given(seed=st.integers(0, 10_000), layers=st.integers(3, 14))
@settings(max_examples=40, deadline=None)
def test_the_notation_round_trips(seed: int, layers: int):
    architecture = EnasMacro(layers=layers).build().sample(Random(seed))
    assert from_arc(to_arc(architecture)) == architecture


def test_the_drawing_shows_the_chain_and_the_skips():
    graph = EnasMacro(layers=3).graph(from_arc("0 4 1 5 0 1"), {})
    assert [(edge.source, edge.target, edge.label) for edge in graph.edges] == [
        ("0", "1", "conv_3x3"),
        ("1", "2", "avg_pool_3x3"),
        ("0", "2", ""),
        ("2", "3", "max_pool_3x3"),
        ("1", "3", ""),
        ("3", "output", ""),
    ]
    groups = [node.group.split()[0] for node in graph.nodes[:-1]]
    assert groups == ["full", "full", "1/2", "1/4"]
    assert ["?"] * 6 == [edge.label for edge in EnasMacro(layers=3).graph(SUPERNET, {}).edges if edge.label]


@pytest.mark.parametrize("text", ["", "0 1", "0 1 1 x 0 0", "6 1 1", "0 1 2", "0 1 -1"])
def test_text_that_is_no_chain_is_refused(text: str):
    with pytest.raises(OptionError) as caught:
        from_arc(text)
    assert caught.value.key == "arc"


@pytest.mark.parametrize("options", [{"layers": 2}, {"filters": 1}, {"dropout": -0.1}, {"layers": True}])
def test_an_unusable_option_is_named(options: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        EnasMacro(**options)  # type: ignore[arg-type]
    assert caught.value.key in options


def test_a_skip_to_the_state_that_the_operation_reads_is_not_contained():
    assert not EnasMacro().build().contains(Architecture({"layer4/skip3": "skip"}))
