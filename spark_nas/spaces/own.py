"""The base of a search space of one's own: say its choices, and how its network is built.

    @dataclass(frozen=True)
    class Kernels(Space):
        channels: int = 8

        @property
        def choices(self):
            return tuple(Choice(f"layer {i}", ("1", "3", "5")) for i in range(3))

        def network(self, architecture, recipe, input_shape, classes, *, affine=True):
            ...     # a torch module with forward(x, gates=None); `affine` only matters to supernets

An experiment names it as `module:Kernels`; `spark_nas.search` takes `Kernels(channels=16)`. With an evaluator that
builds no network, such as a table, `network` is not needed. Whatever here is not enough, a subclass says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.spaces.core import Architecture, Choice, IndependentChoices, SearchSpace
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Graph, Node, chain


@dataclass(frozen=True)
class OwnChoices(IndependentChoices):
    """Choices that do not constrain one another, with the options by which their network is built."""

    options: Space


class Space:
    """Inherit it in a frozen dataclass, whose fields are the options of the space."""

    recipe_keys: ClassVar[tuple[str, ...]] = ()
    """What the network reads from a recipe, besides what the training does."""

    @property
    def name(self) -> str:
        """The name in messages."""
        return type(self).__name__

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All decisions, in a fixed order; none where only the recipe varies."""
        return ()

    def build(self) -> SearchSpace:
        """The search space: the choices, each independent of the others."""
        return OwnChoices(self.name, self.choices, self)

    def default_recipe(self) -> Mapping[str, object]:
        """What is searched besides the choices, as in an experiment file; its section `recipe` adds to it."""
        return {}

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The picture of a network: its decisions, one after another."""
        decisions = tuple(Node(name, f"{name}: {option}") for name, option in architecture.items())
        return chain((Node("input of the network", "input"), *decisions, Node("output of the network", "output")))
