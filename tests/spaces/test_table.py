"""The space of a table's rows."""

from __future__ import annotations

from random import Random

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.table import TableRows


def test_sampling_reaches_every_row_and_no_other():
    space, rng = TableRows(20).build(), Random(1)
    assert {str(i) for i in range(20)} == {space.sample(rng)["row"] for _ in range(500)}


@pytest.mark.parametrize("row", ["-1", "20", "007", "x", "", "1.0", "²", "٣"])
def test_what_names_no_row_is_not_contained(row: str):
    assert not TableRows(20).build().contains(Architecture({"row": row}))


def test_open_and_known_rows_are_contained_and_other_choices_are_not():
    space = TableRows(20).build()
    architectures = SUPERNET, Architecture({"row": "19"}), Architecture({"column": "1"})
    assert [space.contains(architecture) for architecture in architectures] == [True, True, False]


def test_a_table_without_rows_is_refused():
    with pytest.raises(OptionError, match=r"^rows: 0: must be at least 1"):
        TableRows(0)


def test_a_row_is_drawn_as_its_number():
    graph = TableRows(3).graph(Architecture({"row": "2"}), {})
    assert [node.label for node in graph.nodes] == ["row 2"]
