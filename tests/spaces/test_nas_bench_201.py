"""Laws of the NAS-Bench-201 space beyond the contract."""

from __future__ import annotations

from itertools import product

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.nas_bench_201 import (
    EDGES,
    OPERATIONS,
    NasBench201,
    choice_name,
    from_string,
    to_string,
)

SPACE = NasBench201().build()


@pytest.fixture(scope="module")
def cells() -> list[Architecture]:
    names = [choice_name(*edge) for edge in EDGES]
    return [Architecture(dict(zip(names, ops, strict=True))) for ops in product(OPERATIONS, repeat=len(EDGES))]


def cell(*columns: str) -> Architecture:
    """`cell("c3", "-- sk", ...)`: operations by target node, in short."""
    short = dict(zip(("--", "sk", "c1", "c3", "ap"), OPERATIONS, strict=True))
    text = (f"{short[op]}~{source}" for column in columns for source, op in enumerate(column.split()))
    terms = list(text)
    return from_string("+".join(f"|{'|'.join(group)}|" for group in (terms[:1], terms[1:3], terms[3:])))


def published_topology(architecture: Architecture) -> str:
    """The key under which the paper counts 6,466 unique topologies among the 15,625 cells.

    Its count depends on how a term is spelled: a nested sum is sorted as the text it is.
    """
    values = ["0"]
    for target in (1, 2, 3):
        terms = []
        for source in range(target):
            operation, value = architecture[choice_name(source, target)], values[source]
            if operation == "none" or value == "#":
                terms.append("#")
            else:
                terms.append(value if operation == "skip_connect" else f"({value})@{operation}")
        values.append("+".join(sorted(terms)))
    return values[3]


def test_there_are_15625_cells(cells: list[Architecture]):
    assert SPACE.size() == len(set(cells)) == 15625


def test_the_published_count_of_topologies_is_reproduced(cells: list[Architecture]):
    assert len({published_topology(a) for a in cells}) == 6466


def test_the_canonical_classes_are_those_of_the_docstring(cells: list[Architecture]):
    assert len({SPACE.canonical(a) for a in cells}) == 5485


def test_the_text_form_round_trips(cells: list[Architecture]):
    assert [from_string(to_string(a)) for a in cells[::7]] == cells[::7]


def test_the_text_form_is_the_published_one():
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    assert from_string(text)["1->3"] == "nor_conv_1x1"
    assert to_string(from_string(text)) == text


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (cell("sk", "-- c3", "-- -- sk"), cell("--", "-- --", "c3 -- --")),
        (cell("c1", "c3 --", "-- sk sk"), cell("c3", "c1 --", "-- sk sk")),
        (cell("c3", "-- --", "sk -- ap"), cell("--", "-- --", "sk -- --")),
        (cell("--", "-- c1", "-- -- sk"), cell("--", "-- --", "-- c3 --")),
    ],
    ids=["skip chain", "the two middle nodes exchanged", "dead branches", "convolution of nothing"],
)
def test_equal_functions_share_the_canonical_key(left: Architecture, right: Architecture):
    assert SPACE.canonical(left) == SPACE.canonical(right)


def test_one_convolution_used_twice_is_not_two_convolutions():
    shared = cell("c3", "-- sk", "-- c1 c1")
    apart = cell("c3", "c3 --", "-- c1 c1")
    assert published_topology(shared) == published_topology(apart)
    assert SPACE.canonical(shared) != SPACE.canonical(apart)


def test_an_open_cell_is_its_own_key():
    assert SPACE.canonical(SUPERNET) == "{}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "|none~0|",
        "|none~0|+|none~0|none~1|",
        "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|+|none~0|",
    ],
)
def test_text_that_is_no_cell_is_refused(text: str):
    with pytest.raises(OptionError):
        from_string(text)
