"""The DARTS space of recurrent cells (Liu, Simonyan and Yang, ICLR 2019, sections 2 and 3.3).

State 0 is made of the input and the state before; eight nodes (1..8) follow, of which node i may read one of the i
states before it. Each edge is a choice among five operations, and a complete architecture keeps exactly one edge a
node that is not `none`. Published cells are exchanged in the DARTS notation (`spaces.darts_rnn_genotype`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import ClassVar

from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.recurrent import RecurrentOptions, tree_key
from spark_nas.spaces.settings import whole_number

OPERATIONS = ("none", "tanh", "relu", "sigmoid", "identity")
"""In the order of the paper's code: parameters are indexed by it."""
ACTIVATIONS = OPERATIONS[1:]
NODES = 8


def choice_name(source: int, node: int) -> str:
    """The choice that decides the operation on an edge."""
    return f"{source}->{node}"


@dataclass(frozen=True)
class DartsRnnSpace(IndependentChoices):
    """One operation a node; everything else is independent.

    `sample` draws a predecessor a node and an activation for it, uniform: never `none`, which random search with
    weight sharing and ASHA leave out of recurrent cells (Li and Talwalkar, UAI 2019, section 5.1).
    """

    options: DartsRnn

    def sample(self, rng: Random) -> Architecture:
        """A predecessor a node and its activation; all other edges are `none`."""
        return self.cell({node: (rng.randrange(node), rng.choice(ACTIVATIONS)) for node in self.options.numbers})

    def mutate(self, parent: Architecture, rng: Random) -> Architecture:
        """One of `neighbours`, uniform."""
        return rng.choice(list(self.neighbours(parent)))

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Another activation at a node, or the same one on another predecessor."""
        for node in self.options.numbers:
            source, activation = kept(architecture, node)
            name = choice_name(source, node)
            yield from (architecture.replace({name: other}) for other in ACTIVATIONS if other != activation)
            for other in range(node):
                if other != source:
                    yield architecture.replace({name: "none", choice_name(other, node): activation})

    def decode(self, probabilities: Mapping[str, Mapping[str, float]]) -> Architecture:
        """The paper's derivation: a node keeps the edge whose best operation other than `none` is strongest.

        Ties go to the earlier source and the earlier operation.
        """
        decisions = {}
        for node in self.options.numbers:
            weights = {source: probabilities[choice_name(source, node)] for source in range(node)}
            edges = [(source, activation) for source in range(node) for activation in ACTIVATIONS]
            # max() keeps the first of equals.
            decisions[node] = max(edges, key=lambda edge: weights[edge[0]].get(edge[1], 0.0))
        return self.cell(decisions)

    def contains(self, architecture: Architecture) -> bool:
        """Whether all decisions are known, and each node has one operation, or none yet and an open edge."""
        if not super().contains(architecture):
            return False
        for node in self.options.numbers:
            decided = [architecture.get(choice_name(source, node)) for source in range(node)]
            operations = [option for option in decided if option not in (None, "none")]
            if len(operations) > 1 or (not operations and None not in decided):
                return False
        return True

    def canonical(self, architecture: Architecture) -> str:
        """A text shared by all renumberings of the nodes; architectures with open choices keep their sorted JSON.

        The cell's output is the mean of all nodes and each has a matrix of its own, so that renumbering them
        renumbers the matrices only.
        """
        if len(architecture) < len(self.choices):
            return architecture.to_json()
        return tree_key({node: kept(architecture, node) for node in self.options.numbers}, root=0)

    def size(self) -> int | None:
        """Predecessor and activation of each node: i * 4 for node i."""
        return math.prod(len(ACTIVATIONS) * node for node in self.options.numbers)

    def cell(self, decisions: Mapping[int, tuple[int, str]]) -> Architecture:
        """The complete architecture in which each node reads one state, node -> (source, activation)."""
        edges = {choice_name(source, node): activation for node, (source, activation) in decisions.items()}
        return Architecture({**{choice.name: "none" for choice in self.choices}, **edges})


def kept(architecture: Architecture, node: int) -> tuple[int, str]:
    """(source, activation) of a node of a complete architecture."""
    return next(
        (source, option) for source in range(node) if (option := architecture[choice_name(source, node)]) != "none"
    )


@dataclass(frozen=True)
class DartsRnn(RecurrentOptions):
    """Options of the space. The paper searches with 300 units and evaluates with 850."""

    name: ClassVar[str] = "darts_rnn"

    nodes: int = NODES
    """Of the cell; the paper's 8, or fewer for small experiments."""
    search_norm: bool = True
    """Whether a supernet normalises each state over the batch, as released. Mixtures of all activations need it. A
    single path whose activation saturates leaves nothing to divide by, and its gradient explodes: `random_sharing`
    learns without it only (benchmarks/language_model.py)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number({}, "nodes", self.nodes)

    @property
    def numbers(self) -> range:
        """The nodes' numbers; 0 is the initial state."""
        return range(1, self.nodes + 1)

    def build(self) -> DartsRnnSpace:
        """The search space."""
        names = (choice_name(source, node) for node in self.numbers for source in range(node))
        return DartsRnnSpace(self.name, tuple(Choice(name, OPERATIONS) for name in names), self)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The cell at one time step; edges that are `none` are left out, open ones are labelled `?`."""
        nodes = [Node("x", "x(t)", "cell"), Node("h", "h(t-1)", "cell"), Node("0", "0", "cell")]
        nodes += [Node(str(node), str(node), "cell") for node in self.numbers]
        edges = [Edge("x", "0"), Edge("h", "0")]
        for node in self.numbers:
            for source in range(node):
                label = architecture.get(choice_name(source, node), "?")
                if label != "none":
                    edges.append(Edge(str(source), str(node), label))
        edges += [Edge(str(node), "output") for node in self.numbers]
        return Graph((*nodes, Node("output", "h(t): mean", "cell")), tuple(edges))
