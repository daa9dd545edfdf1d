"""The rows of a table of recorded trainings as a search space: one choice, the row.

A table such as LCBench or TaskSet holds measured curves of fixed configurations, and nothing in between them.
The honest space over it is the list of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.graph import Graph, Node

ROW = "row"
"""The name of the one choice; its options are `0`, `1`, ... in the order of the table."""


@dataclass(frozen=True)
class TableRows:
    """Options of the space of a table's rows."""

    recipe_keys: ClassVar[tuple[str, ...]] = ()

    rows: int = 1000
    """How many rows the table has."""

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise OptionError("rows", self.rows, "must be at least 1: the number of rows of the table")

    def build(self) -> TableRowsSpace:
        """The space."""
        return TableRowsSpace("table_rows", (Choice(ROW, tuple(map(str, range(self.rows)))),))

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: a row is a whole configuration."""
        return {}

    def check(self, recipe: Mapping[str, object]) -> None:
        """Nothing is built, so nothing is refused."""

    def graph(self, architecture: Architecture, recipe: Mapping[str, object]) -> Graph:
        """The row's number: the table holds no network to draw."""
        return Graph((Node("row", f"row {architecture.get(ROW, '?')}"),), ())


@dataclass(frozen=True)
class TableRowsSpace(IndependentChoices):
    """One choice with an option a row. A neighbour is any other row: a table knows no distance."""

    def contains(self, architecture: Architecture) -> bool:
        """Whether it names one row of the table, or leaves the row open; without a scan of all rows."""
        rows = len(self.choices[0].options)
        return all(
            name == ROW and option.isascii() and option.isdigit() and str(int(option)) == option and int(option) < rows
            for name, option in architecture.items()
        )
