"""The DARTS space of convolutional cells (Liu, Simonyan and Yang, ICLR 2019, section 2 and appendix A).

Two cells, normal and reduction, each with two inputs (0, 1) and four intermediate nodes (2..5). A node may
receive from every earlier one, so a cell has 2 + 3 + 4 + 5 = 14 edges; each edge is a choice among eight
operations. A complete architecture keeps at most two edges a node that are not `none`. Published cells are
exchanged in the DARTS notation (`spaces.darts_genotype`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from random import Random
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.settings import whole_number

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
"""In the order of the paper's code: parameters are indexed by it."""
CELLS = ("normal", "reduction")
NODES = (2, 3, 4, 5)
KEPT = 2
"""Edges that a node of a complete architecture keeps at most."""


def choice_name(cell: str, source: int, target: int) -> str:
    """The choice that decides the operation on an edge of a cell."""
    return f"{cell}/{source}->{target}"


@dataclass(frozen=True)
class DartsSpace(IndependentChoices):
    """At most two operations a node; everything else is independent.

    `sample` draws two distinct predecessors a node and then an operation for each, uniform over all eight, as
    random search with weight sharing does (Li and Talwalkar, UAI 2019): a node may end up with less than two.
    """

    options: Darts

    def sample(self, rng: Random) -> Architecture:
        """Two distinct predecessors a node, an operation for each; all other edges are `none`."""
        decisions = {choice.name: "none" for choice in self.choices}
        for cell in CELLS:
            for node in NODES:
                for source in sorted(rng.sample(range(node), KEPT)):
                    decisions[choice_name(cell, source, node)] = rng.choice(OPERATIONS)
        return Architecture(decisions)

    def mutate(self, parent: Architecture, rng: Random) -> Architecture:
        """One of `neighbours`, uniform."""
        return parent.replace(rng.choice([change for node in _nodes() for change in _changes(parent, *node)]))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Another operation on a kept edge, a kept edge moved to another source, or an edge added where one is free."""
        for cell, node in _nodes():
            for change in _changes(architecture, cell, node):
                yield architecture.replace(change)

    def decode(self, probabilities: Mapping[str, Mapping[str, float]]) -> Architecture:
        """The paper's derivation: a node keeps the two edges whose best operation other than `none` is strongest.

        Ties go to the earlier source and the earlier operation. An edge on which all other operations have
        probability 0 stays `none`, so the one-hot of an architecture decodes to itself.
        """
        decisions = {choice.name: "none" for choice in self.choices}
        for cell, node in _nodes():
            best: list[tuple[float, int, str]] = []
            for source in range(node):
                weights = probabilities[choice_name(cell, source, node)]
                strongest = max(weights.get(option, 0.0) for option in OPERATIONS[1:])
                operation = next(option for option in OPERATIONS[1:] if weights.get(option, 0.0) == strongest)
                best.append((-strongest, source, operation))
            for weight, source, operation in sorted(best)[:KEPT]:
                if weight < 0:
                    decisions[choice_name(cell, source, node)] = operation
        return Architecture(decisions)

    def contains(self, architecture: Architecture) -> bool:
        """Whether all decisions are known and no node has more than two operations."""
        return super().contains(architecture) and all(
            len(_kept(architecture, cell, node)) <= KEPT for cell, node in _nodes()
        )

    def canonical(self, architecture: Architecture) -> str:
        """The least text over all renumberings of the intermediate nodes; open cells keep their sorted JSON.

        A cell's output is the concatenation of its nodes, so renumbering them permutes channels only, which
        the next layer's weights absorb.
        """
        if len(architecture) < len(self.choices):
            return architecture.to_json()
        return "|".join(f"{cell}:{_least(architecture, cell)}" for cell in CELLS)

    def size(self) -> int | None:
        """The number of distinct assignments: any at most two sources a node, each with one of seven operations."""
        operations = len(OPERATIONS) - 1
        size = 1
        for _, node in _nodes():
            size *= sum(math.comb(node, k) * int(operations**k) for k in range(KEPT + 1))
        return size


def _nodes() -> Iterator[tuple[str, int]]:
    return ((cell, node) for cell in CELLS for node in NODES)


def _kept(architecture: Architecture, cell: str, node: int) -> list[int]:
    """The sources of a node whose edges are decided and not `none`."""
    return [s for s in range(node) if architecture.get(choice_name(cell, s, node), "none") != "none"]


def _changes(architecture: Architecture, cell: str, node: int) -> Iterator[dict[str, str]]:
    """All single changes of one node, each as the decisions that change."""
    kept = _kept(architecture, cell, node)
    free = [choice_name(cell, source, node) for source in range(node) if source not in kept]
    for source in kept:
        name = choice_name(cell, source, node)
        yield from ({name: operation} for operation in OPERATIONS if operation != architecture[name])
        yield from ({name: "none", other: architecture[name]} for other in free)
    if len(kept) < KEPT:
        yield from ({name: operation} for name in free for operation in OPERATIONS[1:])


def _least(architecture: Architecture, cell: str) -> str:
    incoming = {n: [(s, architecture[choice_name(cell, s, n)]) for s in _kept(architecture, cell, n)] for n in NODES}
    forms = []
    for order in permutations(NODES):
        place = {0: 0, 1: 1, **{node: index for index, node in enumerate(order, start=2)}}
        if all(place[source] < place[node] for node in NODES for source, _ in incoming[node]):
            forms.append([sorted((place[source], op) for source, op in incoming[node]) for node in order])
    return ";".join(",".join(f"{source}{operation}" for source, operation in node) for node in min(forms))


@dataclass(frozen=True)
class Darts:
    """Options of the space: the skeleton, which a recipe's `layers` and `channels` override.

    The paper searches with 8 cells of 16 channels and evaluates with 20 of 36.
    """

    name: ClassVar[str] = "darts"
    recipe_keys: ClassVar[tuple[str, ...]] = ("channels", "layers")
    """What the network reads from a recipe."""

    layers: int = 8
    """Cells in all; the ones at `layers // 3` and `2 * layers // 3` are reduction cells."""
    channels: int = 16
    """C0: channels of a node in the first cells; doubled by each reduction."""
    auxiliary: bool = False
    """Whether to add the paper's auxiliary head after the second reduction (training only)."""
    partial_channels: int = 1
    """k of PC-DARTS (Xu et al., ICLR 2020): in the search form, edges process 1/k of the channels; 1 is DARTS."""

    def __post_init__(self) -> None:
        whole_number({}, "layers", self.layers, least=3)
        whole_number({}, "channels", self.channels)
        whole_number({}, "partial_channels", self.partial_channels)
        self.scale({})

    def build(self) -> DartsSpace:
        """The search space."""
        names = (choice_name(cell, source, node) for cell, node in _nodes() for source in range(node))
        return DartsSpace(self.name, tuple(Choice(name, OPERATIONS) for name in names), self)

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    def scale(self, recipe: Mapping[str, RecipeValue]) -> tuple[int, int]:
        """(layers, channels) of a recipe. Raises OptionError where `partial_channels` does not divide the channels."""
        layers = whole_number(recipe, "layers", self.layers, least=3)
        channels = whole_number(recipe, "channels", self.channels)
        if channels % self.partial_channels:
            remedy = f"use a multiple of partial_channels, {self.partial_channels}"
            raise OptionError("channels", channels, remedy)
        return layers, channels

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.scale(recipe)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """Both cells side by side; edges that are `none` are left out, open ones are labelled `?`."""
        nodes: list[Node] = []
        edges: list[Edge] = []
        for cell in CELLS:
            nodes += [Node(f"{cell}/0", "cell k-2", cell), Node(f"{cell}/1", "cell k-1", cell)]
            nodes += [Node(f"{cell}/{node}", str(node), cell) for node in NODES]
            nodes.append(Node(f"{cell}/output", "concatenation", cell))
            for node in NODES:
                for source in range(node):
                    label = architecture.get(choice_name(cell, source, node), "?")
                    if label != "none":
                        edges.append(Edge(f"{cell}/{source}", f"{cell}/{node}", label))
            edges += [Edge(f"{cell}/{node}", f"{cell}/output") for node in NODES]
        return Graph(tuple(nodes), tuple(edges))
