"""The micro space of ENAS: a normal and a reduction cell (Pham et al., ICML 2018, section 2.4, and released code).

A cell has two inputs, states 0 and 1 (the outputs of the cells k-2 and k-1), and five nodes, states 2..6. A node adds
two operations, each on one of the earlier states. States that no node reads, the cell's *loose ends*, together make
its output; a cell's input may be one. Published cells are exchanged in the notation of the released code, four
numbers a node (`from_arc`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations, product
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.settings import fraction, whole_number

OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity")
"""In the order of the released code: its arcs, and a controller's logits, are indexed by it."""
CELLS = ("normal", "reduction")
SIDES = ("left", "right")
INPUTS = 2
"""States that a cell is given; its nodes come after them."""


def choice_name(cell: str, node: int, side: str, what: str) -> str:
    """The choice of the `input` or of the `operation` on one side of a node."""
    return f"{cell}/node{node}/{side}/{what}"


def loose_ends(architecture: Architecture, cell: str, nodes: int) -> tuple[int, ...]:
    """The states of a cell that no decided input names; while inputs are open, those that may be loose."""
    names = (choice_name(cell, node, side, "input") for node in node_states(nodes) for side in SIDES)
    used = {architecture.get(name) for name in names}
    return tuple(state for state in range(INPUTS + nodes) if str(state) not in used)


def node_states(nodes: int) -> range:
    """The states that are nodes, in order."""
    return range(INPUTS, INPUTS + nodes)


@dataclass(frozen=True)
class EnasMicroSpace(IndependentChoices):
    """All choices are independent: whatever the inputs, a cell has a loose end, its last node."""

    options: EnasMicro

    def canonical(self, architecture: Architecture) -> str:
        """The least text over both orders of every sum and all numberings of the nodes; open cells keep their JSON.

        It joins cells that are one graph: the sides of a node are added, and so are the loose ends, each after a
        1x1 convolution of its own. Graphs that compute one function for other reasons stay apart, such as two
        nodes without weights that are equal, or an average of a sum and a sum of averages. Shared weights stand on
        a side and a number, so inside one supernet the members of a class do differ.
        """
        if len(architecture) < len(self.choices):
            return architecture.to_json()
        return "|".join(f"{cell}:{_least(architecture, cell, self.options.nodes)}" for cell in CELLS)


def _least(architecture: Architecture, cell: str, nodes: int) -> str:
    states = node_states(nodes)
    terms = {node: _terms(architecture, cell, node) for node in states}
    forms = []
    for order in permutations(states):
        place = {0: 0, 1: 1, **{node: index for index, node in enumerate(order, start=INPUTS)}}
        if all(place[source] < place[node] for node in states for source, _ in terms[node]):
            forms.append([sorted((place[source], operation) for source, operation in terms[node]) for node in order])
    return ";".join(",".join(f"{source}{operation}" for source, operation in node) for node in min(forms))


def _terms(architecture: Architecture, cell: str, node: int) -> list[tuple[int, str]]:
    """(input, operation) of both sides of a decided node."""
    return [
        (
            int(architecture[choice_name(cell, node, side, "input")]),
            architecture[choice_name(cell, node, side, "operation")],
        )
        for side in SIDES
    ]


@dataclass(frozen=True)
class EnasMicro:
    """Options of the space: nodes of a cell, and the skeleton, which a recipe overrides.

    The released code searches with 6 layers of 20 filters and trains what it found with 15 of 36, dropout 0.2.
    """

    name: ClassVar[str] = "enas_micro"
    recipe_keys: ClassVar[tuple[str, ...]] = ("dropout", "filters", "layers")
    """What the network reads from a recipe."""

    nodes: int = 5
    """Nodes of each cell."""
    layers: int = 6
    """Normal cells; the two reduction cells come on top."""
    filters: int = 20
    """Channels of a state in the first cells; doubled by each reduction."""
    dropout: float = 0.1
    """Share of the features before the classifier that a training step leaves out."""
    auxiliary: bool = False
    """Whether to add an auxiliary head after the second reduction (training only)."""

    def __post_init__(self) -> None:
        whole_number({}, "nodes", self.nodes)
        self.check({})

    def build(self) -> EnasMicroSpace:
        """The search space; a node's inputs come before its operations, as the released controller draws them."""
        choices = []
        for cell, node in product(CELLS, node_states(self.nodes)):
            inputs = tuple(str(state) for state in range(node))
            choices += [Choice(choice_name(cell, node, side, "input"), inputs) for side in SIDES]
            choices += [Choice(choice_name(cell, node, side, "operation"), OPERATIONS) for side in SIDES]
        return EnasMicroSpace(self.name, tuple(choices), self)

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    def scale(self, recipe: Mapping[str, RecipeValue]) -> tuple[int, int]:
        """(layers, filters) of a recipe; with fewer than three layers the reductions would touch."""
        layers = whole_number(recipe, "layers", self.layers, least=3)
        return layers, whole_number(recipe, "filters", self.filters)

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.scale(recipe)
        fraction(recipe, "dropout", self.dropout)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """Both cells side by side; what is open is labelled `?` and leads from every state that it may read."""
        nodes: list[Node] = []
        edges: list[Edge] = []
        for cell in CELLS:
            nodes += [Node(f"{cell}/0", "cell k-2", cell), Node(f"{cell}/1", "cell k-1", cell)]
            nodes += [Node(f"{cell}/{node}", str(node), cell) for node in node_states(self.nodes)]
            nodes.append(Node(f"{cell}/output", "loose ends", cell))
            for node in node_states(self.nodes):
                edges += _edges(architecture, cell, node)
            ends = loose_ends(architecture, cell, self.nodes)
            edges += [Edge(f"{cell}/{state}", f"{cell}/output") for state in ends]
        return Graph(tuple(nodes), tuple(edges))


def _edges(architecture: Architecture, cell: str, node: int) -> Iterator[Edge]:
    """The edges into a node; an open side that would repeat the other one's is drawn once."""
    drawn: set[Edge] = set()
    for side in SIDES:
        source = architecture.get(choice_name(cell, node, side, "input"))
        label = architecture.get(choice_name(cell, node, side, "operation"), "?")
        for state in range(node) if source is None else (source,):
            edge = Edge(f"{cell}/{state}", f"{cell}/{node}", label)
            if source is not None or edge not in drawn:
                yield edge
            drawn.add(edge)


def to_arc(architecture: Architecture) -> str:
    """A complete architecture as numbers: left input, left operation, right input, right operation of every node."""
    nodes = node_states(len(architecture) // (len(CELLS) * 4))
    terms = (term for cell in CELLS for node in nodes for term in _terms(architecture, cell, node))
    return " ".join(f"{source} {OPERATIONS.index(operation)}" for source, operation in terms)


def from_arc(text: str) -> Architecture:
    """The inverse of `to_arc`: first the normal cell's nodes, then the reduction cell's.

    Raises OptionError for text that is no pair of cells.
    """
    words = text.split()
    nodes, rest = divmod(len(words), len(CELLS) * 4)
    if rest or not nodes or not all(word.isdecimal() for word in words):
        raise OptionError("arc", text, "use eight numbers a node: input, operation, input, operation for each cell")
    numbers = iter(map(int, words))
    decisions: dict[str, str] = {}
    for cell, node, side in product(CELLS, node_states(nodes), SIDES):
        source, operation = next(numbers), next(numbers)
        if source >= node or operation >= len(OPERATIONS):
            remedy = f"node {node} reads states below {node} through operations below {len(OPERATIONS)}"
            raise OptionError("arc", f"{source} {operation}", remedy)
        decisions[choice_name(cell, node, side, "input")] = str(source)
        decisions[choice_name(cell, node, side, "operation")] = OPERATIONS[operation]
    return Architecture(decisions)
