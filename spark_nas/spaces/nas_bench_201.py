"""The topology space of NAS-Bench-201 (Dong and Yang, ICLR 2020): one cell of four nodes, five operations an edge.

5**6 = 15,625 cells. A node is the sum of its incoming edges; the skeleton is fixed
(`evaluation.networks.nas_bench_201`). Cells are exchanged as text: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue, nearest
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.settings import whole_number

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
"""In the order of the paper: parameters are indexed by it."""
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
"""(source, target), in the order of the text form."""

_TERM = re.compile(r"([^|+~]+)~(\d+)")
_CELLS = 15_625
_ZERO = ""
_BIAS = "bias"


def choice_name(source: int, target: int) -> str:
    """The choice that decides the operation on an edge."""
    return f"{source}->{target}"


@dataclass(frozen=True)
class NasBench201Space(IndependentChoices):
    """Six independent choices; `canonical` joins cells that are the same function by construction."""

    options: NasBench201

    def canonical(self, architecture: Architecture) -> str:
        """What the last node computes, as a sum of nested terms; open cells keep their sorted JSON.

        Reductions: `none` adds nothing, `skip_connect` hands on what its source computes, whatever reaches no
        output or is not reached from the input vanishes, average pooling of nothing is nothing, and a
        convolution of nothing is the learned bias of its batch norm. Sums flatten, and their order does not
        matter. This gives 5,485 classes.

        The published count of 6,466 topologies follows other rules: it keeps nested
        sums apart, takes a convolution of nothing for nothing, and does not tell one convolution whose output
        is used twice from two convolutions of one input. Here the former carries a star.
        """
        if len(architecture) < len(EDGES):
            return architecture.to_json()
        return _canonical(tuple(architecture[choice_name(*edge)] for edge in EDGES))


@lru_cache(maxsize=_CELLS)
def _canonical(operations: tuple[str, ...]) -> str:
    """Of a complete cell, in the order of `EDGES`. Samplers ask again and again; all there are take some megabytes."""
    cell = {choice_name(*edge): operation for edge, operation in zip(EDGES, operations, strict=True)}
    # Only 0->1 can be used twice (through 2 and directly), as node 2 has a single way out.
    marked = _output(cell, mark="*")
    return marked if marked.count("*") > 1 else _output(cell, mark="")


def _output(architecture: Mapping[str, str], *, mark: str) -> str:
    """The expression of the last node; `mark` is written on the convolution of edge 0->1."""
    values = ["x"]
    for target in (1, 2, 3):
        terms: list[str] = []
        for source in range(target):
            operation = architecture[choice_name(source, target)]
            terms += _terms(operation, values[source], mark if target == 1 else "")
        values.append("+".join(sorted(terms)))
    return values[3]


def _terms(operation: str, source: str, mark: str) -> list[str]:
    """The terms that one edge adds to its target, given the expression of its source."""
    convolution = operation.startswith("nor_conv")
    if operation == "none" or (source == _ZERO and not convolution):
        return []
    if operation == "skip_connect":
        return _split(source)
    if source == _ZERO:
        return [_BIAS]
    return [f"{operation}{mark if convolution else ''}({source})"]


def _split(expression: str) -> list[str]:
    """The outermost terms of a sum."""
    terms, depth, start = [], 0, 0
    for index, character in enumerate(expression):
        depth += (character == "(") - (character == ")")
        if character == "+" and depth == 0:
            terms.append(expression[start:index])
            start = index + 1
    return [*terms, expression[start:]]


@dataclass(frozen=True)
class NasBench201:
    """Options of the space: the scale of the skeleton, which a recipe's `channels` and `cells` override."""

    name: ClassVar[str] = "nas_bench_201"
    recipe_keys: ClassVar[tuple[str, ...]] = ("cells", "channels")
    """What the network reads from a recipe."""

    channels: int = 16
    """Channels of the first stage (C in the paper); doubled twice."""
    cells: int = 5
    """Cells in each of the three stages (N in the paper)."""

    def __post_init__(self) -> None:
        whole_number({}, "channels", self.channels)
        whole_number({}, "cells", self.cells)

    def build(self) -> NasBench201Space:
        """The search space."""
        choices = tuple(Choice(choice_name(*edge), OPERATIONS) for edge in EDGES)
        return NasBench201Space(self.name, choices, self)

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    def scale(self, recipe: Mapping[str, RecipeValue]) -> tuple[int, int]:
        """(channels, cells) of a recipe."""
        return whole_number(recipe, "channels", self.channels), whole_number(recipe, "cells", self.cells)

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.scale(recipe)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The cell; edges that are `none` are left out, open ones are labelled `?`."""
        nodes = tuple(Node(str(n), ("input", "1", "2", "output")[n], "cell") for n in range(4))
        labels = {edge: architecture.get(choice_name(*edge), "?") for edge in EDGES}
        return Graph(nodes, tuple(Edge(str(a), str(b), op) for (a, b), op in labels.items() if op != "none"))


def to_string(architecture: Architecture) -> str:
    """The text form of a complete cell: `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
    columns = [[f"{architecture[choice_name(s, t)]}~{s}" for s in range(t)] for t in (1, 2, 3)]
    return "+".join(f"|{'|'.join(column)}|" for column in columns)


def from_string(text: str) -> Architecture:
    """The inverse of `to_string`. Raises OptionError for text that is no cell."""
    decisions: dict[str, str] = {}
    for target, column in enumerate(text.strip().split("+"), start=1):
        for term in column.strip("|").split("|"):
            match = _TERM.fullmatch(term)
            if match is None or not int(match[2]) < target <= 3:
                raise OptionError("cell", text, "use |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
            if match[1] not in OPERATIONS:
                raise OptionError("cell", match[1], f"no such operation: {nearest(match[1], OPERATIONS)}")
            decisions[choice_name(int(match[2]), target)] = match[1]
    if len(decisions) != len(EDGES):
        raise OptionError("cell", text, "use |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
    return Architecture(decisions)
