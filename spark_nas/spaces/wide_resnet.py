"""Wide residual networks WRN-d-k, whose recipe is searched (Zagoruyko and Komodakis, BMVC 2016).

d = 6n + 4 convolutions: three groups of n pre-activation blocks with widths 16k, 32k, 64k and strides 1, 2, 2.
The default recipe is the one searched as "WRN + ASHA" in NAS-Bench-360 (Tu et al., NeurIPS 2022): learning rate,
momentum, weight decay and dropout, on grids. A recipe may also hold `depth` and `width`, which then override
the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.settings import fraction, whole_number


@dataclass(frozen=True)
class WideResNetSpace(IndependentChoices):
    """No choices: only the recipe varies."""

    options: WideResNet


@dataclass(frozen=True)
class WideResNet:
    """Options of the space: the network where the recipe does not say otherwise."""

    name: ClassVar[str] = "wide_resnet"
    recipe_keys: ClassVar[tuple[str, ...]] = ("depth", "dropout", "width")
    """What the network reads from a recipe."""

    depth: int = 16
    """d: number of 3x3 convolutions and the classifier; 6n + 4."""
    width: int = 4
    """k: factor of the widths 16, 32, 64."""

    def __post_init__(self) -> None:
        self.blocks({})
        whole_number({}, "width", self.width)

    def build(self) -> WideResNetSpace:
        """The search space: one architecture, the empty one."""
        return WideResNetSpace(self.name, (), self)

    def default_recipe(self) -> Mapping[str, object]:
        """The grids of "WRN + ASHA"; where the source gives ends only, the steps are those of the learning rate."""
        return {
            "learning_rate": {"choice": [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1]},
            "momentum": {"choice": [0.0, 0.3, 0.6, 0.9]},
            "weight_decay": {"choice": [1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2]},
            "dropout": {"choice": [0.0, 0.3, 0.6]},
        }

    def blocks(self, recipe: Mapping[str, RecipeValue]) -> int:
        """n: blocks in each of the three groups. Raises OptionError where the depth is not 6n + 4."""
        depth = whole_number(recipe, "depth", self.depth)
        if depth < 10 or (depth - 4) % 6:
            raise OptionError("depth", depth, "use 6n + 4: 10, 16, 22, 28, ...")
        return (depth - 4) // 6

    def widths(self, recipe: Mapping[str, RecipeValue]) -> tuple[int, int, int]:
        """Channels of the three groups."""
        k = whole_number(recipe, "width", self.width)
        return 16 * k, 32 * k, 64 * k

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.blocks(recipe)
        self.widths(recipe)
        fraction(recipe, "dropout", 0.0)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """Blocks with their shortcuts, one group of the drawing a group of the network."""
        nodes, edges = [Node("input", "input"), Node("stem", "conv 3x3, 16")], [Edge("input", "stem")]
        previous, channels = "stem", 16
        for group, width in enumerate(self.widths(recipe)):
            for block in range(self.blocks(recipe)):
                name = f"{group}.{block}"
                stride = 2 if group > 0 and block == 0 else 1
                strided = ", /2" if stride == 2 else ""
                nodes += [Node(name, f"2 x conv 3x3, {width}{strided}", f"group {group + 1}")]
                nodes += [Node(f"{name}+", "+", f"group {group + 1}")]
                shortcut = "conv 1x1" if stride == 2 or channels != width else "identity"
                edges += [Edge(previous, name), Edge(name, f"{name}+"), Edge(previous, f"{name}+", shortcut)]
                previous, channels = f"{name}+", width
        nodes.append(Node("output", "BN, ReLU, mean, classes"))
        return Graph(tuple(nodes), (*edges, Edge(previous, "output")))
