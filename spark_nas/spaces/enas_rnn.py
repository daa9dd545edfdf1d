"""The ENAS space of recurrent cells (Pham, Guan, Zoph, Le and Dean, ICML 2018, sections 2.1 and 3.1).

Node 1 reads the input and the state before, node i one of the nodes 1..i-1; each node has one of four activations.
What no node reads, the loose ends, is averaged into the cell's output.

The paper counts 4^N N! cells of N nodes. By its own walk through an example, and in its released code, node 1 has no
predecessor to choose and node i only i - 1, which makes 4^N (N - 1)!; that is what `size` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.recurrent import RecurrentOptions, tree_key
from spark_nas.spaces.settings import whole_number

ACTIVATIONS = ("tanh", "relu", "sigmoid", "identity")
NODES = 12


def input_name(node: int) -> str:
    """The choice of the node that a node reads; its options are the numbers of all earlier ones."""
    return f"node{node}/input"


def activation_name(node: int) -> str:
    """The choice of a node's activation."""
    return f"node{node}/activation"


@dataclass(frozen=True)
class EnasRnnSpace(IndependentChoices):
    """Independent choices; cells that differ in the numbers of their nodes only are the same network."""

    options: EnasRnn

    def canonical(self, architecture: Architecture) -> str:
        """A text shared by all renumberings of the nodes; architectures with open choices keep their sorted JSON.

        Each pair of nodes has a matrix of its own, so that renumbering the nodes renumbers the matrices only.
        """
        if len(architecture) < len(self.choices):
            return architecture.to_json()
        sources = {node: int(architecture[input_name(node)]) for node in self.options.numbers[1:]}
        # Node 1 hangs on a root without a label, which stands for the input.
        tree = {node: (sources.get(node, 0), architecture[activation_name(node)]) for node in self.options.numbers}
        return tree_key(tree, root=0)


@dataclass(frozen=True)
class EnasRnn(RecurrentOptions):
    """Options of the space; defaults are the released code's for Penn Treebank (keep rates .25, .75, .25, 1, .75)."""

    name: ClassVar[str] = "enas_rnn"

    hidden: int = 720
    """Units of a state."""
    dropout_between: float = 0.0
    """Of the vectors between the embedding and the cell: a second mask, as in the release."""
    dropout_embedding: float = 0.25
    """Of whole words: a word is dropped everywhere in a batch or nowhere."""
    nodes: int = NODES
    """N of the cell; the paper's 12, or fewer for small experiments."""

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number({}, "nodes", self.nodes)

    @property
    def numbers(self) -> range:
        """The nodes' numbers."""
        return range(1, self.nodes + 1)

    def build(self) -> EnasRnnSpace:
        """The search space."""
        choices = [Choice(activation_name(1), ACTIVATIONS)]
        for node in self.numbers[1:]:
            choices.append(Choice(input_name(node), tuple(str(source) for source in range(1, node))))
            choices.append(Choice(activation_name(node), ACTIVATIONS))
        return EnasRnnSpace(self.name, tuple(choices), self)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The cell at one time step; an open predecessor is drawn as all there are, an open activation as `?`."""
        nodes = [Node("x", "x(t)", "cell"), Node("h", "h(t-1)", "cell")]
        nodes += [Node(str(node), str(node), "cell") for node in self.numbers]
        first = architecture.get(activation_name(1), "?")
        edges = [Edge("x", "1", first), Edge("h", "1", first)]
        for node in self.numbers[1:]:
            decided = architecture.get(input_name(node))
            sources = [str(source) for source in range(1, node)] if decided is None else [decided]
            label = architecture.get(activation_name(node), "?")
            edges += [Edge(source, str(node), label) for source in sources]
        read = {architecture.get(input_name(node)) for node in self.numbers[1:]}
        edges += [Edge(str(node), "output") for node in self.numbers if str(node) not in read]
        return Graph((*nodes, Node("output", "h(t): mean of loose ends", "cell")), tuple(edges))
