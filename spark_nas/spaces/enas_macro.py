"""The macro space of ENAS: a whole chain of layers with skip connections (Pham et al., ICML 2018, section 2.3).

Layer i = 1, 2, ... reads state i-1 through one of six operations; to that it may add any of the states 0..i-2 (state 0
is the stem, state j what layer j gives). With twelve layers there are 6**12 * 2**66 networks, about 1.6e29. As in
the released code a skip never repeats the state that the operation reads: layer 1 has none, layer 12 has eleven.
Architectures are exchanged in the code's notation (`from_arc`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.settings import fraction, whole_number

OPERATIONS = ("conv_3x3", "sep_conv_3x3", "conv_5x5", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3")
"""In the order of the released code: its arcs, and a controller's logits, are indexed by it."""
SKIPS = ("none", "skip")
"""In the order of its bits."""


def operation_name(layer: int) -> str:
    """The choice of a layer's operation; layers count from 1."""
    return f"layer{layer}/operation"


def skip_name(layer: int, state: int) -> str:
    """The choice whether a layer adds an earlier state."""
    return f"layer{layer}/skip{state}"


def skips_of(layer: int) -> range:
    """The states that a layer may add."""
    return range(layer - 1)


@dataclass(frozen=True)
class EnasMacroSpace(IndependentChoices):
    """All choices are independent, and every assignment is another network."""

    options: EnasMacro


@dataclass(frozen=True)
class EnasMacro:
    """Options of the space: its depth, and what a recipe may override.

    The released code searches with 12 layers of 36 filters and trains what it found with 96 and dropout 0.5.
    """

    name: ClassVar[str] = "enas_macro"
    recipe_keys: ClassVar[tuple[str, ...]] = ("dropout", "filters")
    """What the network reads from a recipe."""

    layers: int = 12
    """Searched layers."""
    filters: int = 36
    """Channels of every state."""
    dropout: float = 0.1
    """Share of the features before the classifier that a training step leaves out."""

    def __post_init__(self) -> None:
        whole_number({}, "layers", self.layers, least=3)
        self.check({})

    def build(self) -> EnasMacroSpace:
        """The search space; a layer's operation comes before its skips."""
        choices = []
        for layer in range(1, self.layers + 1):
            choices.append(Choice(operation_name(layer), OPERATIONS))
            choices += [Choice(skip_name(layer, state), SKIPS) for state in skips_of(layer)]
        return EnasMacroSpace(self.name, tuple(choices), self)

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    @property
    def boundaries(self) -> tuple[int, int]:
        """The layers after which the resolution is halved: at a third and at two thirds."""
        third = self.layers // 3
        return third, 2 * third

    def level(self, layer: int) -> int:
        """How many times the resolution has been halved where a layer works."""
        return sum(layer > boundary for boundary in self.boundaries)

    def width(self, recipe: Mapping[str, RecipeValue]) -> int:
        """The filters of a recipe: at least 2, as reductions are made of two halves."""
        return whole_number(recipe, "filters", self.filters, least=2)

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.width(recipe)
        fraction(recipe, "dropout", self.dropout)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The chain with its skips, one group a resolution; open choices are labelled `?`."""
        resolutions = ("full resolution", "1/2 resolution", "1/4 resolution")
        nodes = [Node("0", "stem", resolutions[0])]
        edges: list[Edge] = []
        for layer in range(1, self.layers + 1):
            nodes.append(Node(str(layer), f"layer {layer}", resolutions[self.level(layer)]))
            edges.append(Edge(str(layer - 1), str(layer), architecture.get(operation_name(layer), "?")))
            for state in skips_of(layer):
                label = architecture.get(skip_name(layer, state), "?")
                if label != "none":
                    edges.append(Edge(str(state), str(layer), "?" if label == "?" else ""))
        nodes.append(Node("output", "mean, classes"))
        return Graph(tuple(nodes), (*edges, Edge(str(self.layers), "output")))


def to_arc(architecture: Architecture) -> str:
    """A complete architecture as numbers: for every layer its operation and a bit for each skip, earliest first."""
    numbers = []
    for layer in range(1, _layers(len(architecture)) + 1):
        numbers.append(OPERATIONS.index(architecture[operation_name(layer)]))
        numbers += [SKIPS.index(architecture[skip_name(layer, state)]) for state in skips_of(layer)]
    return " ".join(map(str, numbers))


def from_arc(text: str) -> Architecture:
    """The inverse of `to_arc`, for any number of layers. Raises OptionError for text that is no such chain."""
    words = text.split()
    layers = _layers(len(words))
    if not layers or layers * (layers + 1) // 2 != len(words) or not all(word.isdecimal() for word in words):
        raise OptionError("arc", text, "use i numbers for layer i: its operation and i-1 bits")
    numbers = iter(map(int, words))
    decisions: dict[str, str] = {}
    for layer in range(1, layers + 1):
        names = [operation_name(layer), *(skip_name(layer, state) for state in skips_of(layer))]
        for name, options in zip(names, [OPERATIONS] + [SKIPS] * (layer - 1), strict=True):
            number = next(numbers)
            if number >= len(options):
                raise OptionError("arc", number, f"{name} has {len(options)} options, counted from 0")
            decisions[name] = options[number]
    return Architecture(decisions)


def _layers(choices: int) -> int:
    """The layers that have so many choices: the largest n with n (n + 1) / 2 <= choices."""
    return (isqrt(8 * choices + 1) - 1) // 2
