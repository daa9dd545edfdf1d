"""Laws of the ProxylessNAS chain beyond the contract."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.graph import Edge
from spark_nas.spaces.proxyless import OPERATIONS, ZERO, Proxyless, choice_name

PUBLISHED = Proxyless()
CONVOLUTIONS = OPERATIONS[:-1]
SMALL = Proxyless(widths=(24, 40), depths=(3, 2), strides=(2, 1), operations=("mbconv3_e3", "mbconv5_e6", ZERO))


def every(options: Proxyless) -> list[Architecture]:
    choices = options.build().choices
    return [
        Architecture(dict(zip((choice.name for choice in choices), decisions, strict=True)))
        for decisions in product(*(choice.options for choice in choices))
    ]


def test_there_are_twenty_one_blocks_of_which_fifteen_may_be_left_out():
    choices = PUBLISHED.build().choices
    assert len(choices) == 21
    assert sum(choice.options == OPERATIONS for choice in choices) == 15
    assert sum(choice.options == CONVOLUTIONS for choice in choices) == 6
    assert PUBLISHED.build().size() == 6**6 * 7**15


def test_the_first_block_of_a_stage_and_no_other_must_be_a_convolution():
    forced = [choice.name for choice in PUBLISHED.build().choices if ZERO not in choice.options]
    assert forced == [choice_name(stage, 0) for stage in range(6)]


def test_the_positions_are_those_of_the_paper():
    positions = PUBLISHED.positions()
    assert (positions[0].inputs, positions[-1].outputs) == (16, 320)
    assert [(p.outputs, p.stride) for p in positions if p.block == 0] == [
        (24, 2),
        (40, 2),
        (80, 2),
        (96, 1),
        (192, 2),
        (320, 1),
    ]
    assert all(p.inputs == p.outputs and p.stride == 1 for p in positions if p.block > 0)
    assert PUBLISHED.reduction == 32
    assert Proxyless(stem_stride=1, strides=(1, 2, 2, 1, 2, 1)).reduction == 8


def test_a_stage_that_starts_like_the_one_before_may_be_left_out_whole():
    options = Proxyless(widths=(16, 24, 24), depths=(1, 1, 1), strides=(1, 1, 1))
    assert [ZERO in choice.options for choice in options.build().choices] == [True, False, True]


def test_without_zero_the_depth_is_fixed():
    options = Proxyless(operations=("mbconv3_e3", "mbconv7_e6"))
    assert options.build().size() == 2**21


@pytest.mark.parametrize(
    ("width", "base", "channels"),
    [(1.0, 24, 24), (0.25, 24, 8), (0.25, 40, 16), (1.4, 32, 48), (1.4, 16, 24), (0.75, 24, 24), (0.01, 320, 8)],
)
def test_channels_are_multiples_of_eight_and_never_a_tenth_too_small(width: float, base: int, channels: int):
    assert channels == Proxyless(width=width).channels(base)


@pytest.mark.parametrize(("width", "head"), [(0.5, 1280), (1.0, 1280), (1.4, 1792)])
def test_the_last_convolution_is_only_ever_widened(width: float, head: int):
    assert head == Proxyless(width=width).head


def test_the_canonical_key_counts_the_distinct_chains():
    space = SMALL.build()
    assert space.size() == len(every(SMALL)) == (2 * 3 * 3) * (2 * 3)
    # A first block, then none, one or two of two operations; a first block, then none or one.
    assert len({space.canonical(a) for a in every(SMALL)}) == (2 * (1 + 2 + 4)) * (2 * (1 + 2))


def test_where_a_block_is_left_out_does_not_matter_but_the_order_of_the_others_does():
    space = SMALL.build()
    start = Architecture(dict.fromkeys((choice.name for choice in space.choices), "mbconv3_e3"))
    early = start.replace({choice_name(0, 1): ZERO, choice_name(0, 2): "mbconv5_e6"})
    late = start.replace({choice_name(0, 1): "mbconv5_e6", choice_name(0, 2): ZERO})
    other = start.replace({choice_name(0, 0): "mbconv5_e6", choice_name(0, 2): ZERO})
    assert space.canonical(early) == space.canonical(late) != space.canonical(other)
    assert space.canonical(SUPERNET) == "{}"


def test_the_drawing_is_a_chain_that_shows_strides_and_identities():
    architecture = SMALL.build().sample(Random(1)).replace({choice_name(0, 0): "mbconv5_e6", choice_name(0, 2): ZERO})
    graph = SMALL.graph(architecture, {})
    assert [node.name for node in graph.nodes[:3]] == ["input", "stem", "first"]
    assert len(graph.edges) == len(graph.nodes) - 1 == 3 + 5
    assert graph.edges[0] == Edge("input", "stem", "conv 3x3, /2")
    assert graph.edges[2] == Edge("first", "stage0/block0", "mbconv5_e6, /2")
    assert graph.edges[4].label == "identity"
    assert SMALL.graph(SUPERNET, {}).edges[3].label == "?"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0.0}, "width: 0.0: use a number above 0"),
        ({"width": float("nan")}, "width: nan"),
        ({"widths": (), "depths": (), "strides": ()}, "at least one stage"),
        ({"widths": (0,), "depths": (1,), "strides": (1,)}, "widths: 0: use a whole number"),
        ({"depths": (4, 4)}, "depths: .*: give one for each of the 6 stages"),
        ({"strides": (2,)}, "strides: .*: give one for each of the 6 stages"),
        ({"strides": (2, 2, 2, 1, 3, 1)}, "strides: .*: use strides of 1 or 2"),
        ({"stem_stride": 4}, "stem_stride: 4: use strides of 1 or 2"),
        ({"operations": ("mbconv3_e4",)}, "did you mean 'mbconv3_e"),
        ({"operations": (ZERO,)}, "one at least besides 'zero'"),
        ({"operations": ("mbconv3_e3", "mbconv3_e3")}, "give distinct ones"),
        ({"dropout": 1.0}, "dropout: 1.0"),
    ],
)
def test_options_of_which_no_chain_can_be_built_are_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message):
        Proxyless(**options)


def test_a_recipe_overrides_the_dropout():
    assert Proxyless(dropout=0.1).dropout_of({}) == 0.1
    assert Proxyless(dropout=0.1).dropout_of({"dropout": 0.3}) == 0.3
    with pytest.raises(OptionError, match="dropout: -1"):
        PUBLISHED.check({"dropout": -1})
