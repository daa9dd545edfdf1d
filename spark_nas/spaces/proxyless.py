"""The ProxylessNAS chain of inverted bottlenecks (Cai, Zhu and Han, ICLR 2019, section 4.2; the released search code).

A stem, a fixed first block, then stages of blocks; each block is a choice among inverted bottlenecks of kernel
3, 5 or 7 and expansion 3 or 6. A block that keeps width and resolution has an identity shortcut and one more option,
`zero`, which leaves the shortcut alone: so the search finds the depth of each stage too.

    stem 3x3, 32 - fixed 3x3 e1, 16 - stages 24, 40, 80, 96, 192, 320 - 1x1, 1280 - mean, dropout, classes

The first block of a stage changes width or resolution and must be a convolution: 6**6 * 7**15 assignments.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue, nearest
from spark_nas.spaces.graph import Graph, Node, chain
from spark_nas.spaces.settings import fraction, whole_number

ZERO = "zero"
OPERATIONS = ("mbconv3_e3", "mbconv3_e6", "mbconv5_e3", "mbconv5_e6", "mbconv7_e3", "mbconv7_e6", ZERO)
"""`mbconv{kernel}_e{expansion}`, in the order of the released code: parameters are indexed by it."""
STEM, FIRST, HEAD = 32, 16, 1280
"""Channels of the stem, the fixed first block and the last convolution, before the multiplier."""


def choice_name(stage: int, block: int) -> str:
    """The choice that decides the operation of a block; both count from 0."""
    return f"stage{stage}/block{block}"


@dataclass(frozen=True, slots=True)
class Position:
    """Where a block stands: what comes in and what must go out."""

    stage: int
    block: int
    inputs: int
    """Channels."""
    outputs: int
    """Channels."""
    stride: int

    @property
    def choice(self) -> str:
        """The name of its choice."""
        return choice_name(self.stage, self.block)

    @property
    def keeps_shape(self) -> bool:
        """Whether it has the identity shortcut, and may be `zero`."""
        return self.stride == 1 and self.inputs == self.outputs


@dataclass(frozen=True)
class ProxylessSpace(IndependentChoices):
    """Independent choices; `canonical` joins chains that differ only in where their `zero` blocks stand."""

    options: Proxyless

    def canonical(self, architecture: Architecture) -> str:
        """The blocks that are not `zero`, in order, with their shapes; open chains keep their sorted JSON.

        A `zero` block is the identity, and blocks of one shape are alike, so it does not matter which are left out:
        a stage of four has 6 * (1 + 6 + 36 + 216) networks, not 6 * 7**3.
        """
        if len(architecture) < len(self.choices):
            return architecture.to_json()
        return "|".join(
            f"{position.inputs}>{position.outputs}/{position.stride}:{operation}"
            for position in self.options.positions()
            if (operation := architecture[position.choice]) != ZERO
        )


@dataclass(frozen=True)
class Proxyless:
    """Options of the space: the skeleton. As released by default, which is meant for images of 224 pixels.

    A stage is one entry of `widths`, `depths` and `strides`. For images of 32 pixels use `stem_stride: 1` and
    `strides: [1, 2, 2, 1, 2, 1]`, which end at 4x4 where the defaults end at 1x1; it is the usual change of
    MobileNetV2, the ancestor of this chain. (The release has no such setting: its CIFAR network is another.)
    """

    name: ClassVar[str] = "proxyless"
    recipe_keys: ClassVar[tuple[str, ...]] = ("dropout",)
    """What the network reads from a recipe; widths stay out of it, since they decide where `zero` is possible."""

    width: float = 1.0
    """Multiplier of all channels but those of the last convolution, which it only widens; see `channels`."""
    widths: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    """Channels of each stage, before the multiplier."""
    depths: tuple[int, ...] = (4, 4, 4, 4, 4, 1)
    """Blocks of each stage, at most."""
    strides: tuple[int, ...] = (2, 2, 2, 1, 2, 1)
    """Of the first block of each stage: 1 or 2."""
    stem_stride: int = 2
    """Of the stem: 1 or 2."""
    operations: tuple[str, ...] = OPERATIONS
    """A subset of `OPERATIONS`; without `zero` the depths are fixed."""
    dropout: float = 0.0
    """Before the classifier; a recipe's `dropout` overrides it."""
    search_affine: bool = True
    """Whether batch norms inside blocks learn a scale and a shift in the search form as well, as released. False is
    DARTS's custom: for methods that mix weighted outputs, whose sizes must then be comparable."""

    def __post_init__(self) -> None:
        if not 0 < self.width < math.inf:
            raise OptionError("width", self.width, "use a number above 0")
        if not self.widths:
            raise OptionError("widths", self.widths, "give at least one stage")
        for key, values in (("widths", self.widths), ("depths", self.depths), ("strides", self.strides)):
            if len(values) != len(self.widths):
                raise OptionError(key, values, f"give one for each of the {len(self.widths)} stages of widths")
            for value in values:
                whole_number({}, key, value)
        for key, strides in (("strides", self.strides), ("stem_stride", (self.stem_stride,))):
            if not set(strides) <= {1, 2}:
                raise OptionError(key, getattr(self, key), "use strides of 1 or 2")
        for operation in self.operations:
            if operation not in OPERATIONS:
                raise OptionError("operations", operation, f"is no operation: {nearest(operation, OPERATIONS)}")
        if len(set(self.operations)) < len(self.operations) or not set(self.operations) - {ZERO}:
            raise OptionError("operations", self.operations, f"give distinct ones, and one at least besides {ZERO!r}")
        self.check({})

    def build(self) -> ProxylessSpace:
        """The search space: one choice a block."""
        convolutions = tuple(operation for operation in self.operations if operation != ZERO)
        choices = (
            Choice(position.choice, self.operations if position.keeps_shape else convolutions)
            for position in self.positions()
        )
        return ProxylessSpace(self.name, tuple(choices), self)

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    def channels(self, base: int) -> int:
        """`base` times the multiplier, as the nearest multiple of 8 that is not more than a tenth too small."""
        exact = base * self.width
        rounded = max(8, int(exact + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * exact else rounded

    @property
    def head(self) -> int:
        """Channels of the last convolution: a multiplier below 1 leaves them as they are."""
        return self.channels(HEAD) if self.width > 1 else HEAD

    @property
    def reduction(self) -> int:
        """By what the sides of an image are divided, which is the smallest side that can be."""
        return self.stem_stride * math.prod(self.strides)

    def positions(self) -> tuple[Position, ...]:
        """The searched blocks, in order."""
        positions: list[Position] = []
        inputs = self.channels(FIRST)
        for stage, (width, depth, stride) in enumerate(zip(self.widths, self.depths, self.strides, strict=True)):
            for block in range(depth):
                outputs = self.channels(width)
                positions.append(Position(stage, block, inputs, outputs, stride if block == 0 else 1))
                inputs = outputs
        return tuple(positions)

    def dropout_of(self, recipe: Mapping[str, RecipeValue]) -> float:
        """The probability of a recipe. Raises OptionError for none."""
        return fraction(recipe, "dropout", self.dropout)

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.dropout_of(recipe)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The chain: nodes are what stands between the blocks, edges the blocks; `zero` is drawn as the identity."""
        nodes = [Node("input", "input"), Node("stem", f"{self.channels(STEM)} channels")]
        nodes.append(Node("first", f"{self.channels(FIRST)} channels"))
        labels = [f"conv 3x3{_strided(self.stem_stride)}", "mbconv3_e1"]
        for position in self.positions():
            nodes.append(Node(position.choice, f"{position.outputs} channels", f"stage {position.stage + 1}"))
            operation = architecture.get(position.choice, "?")
            labels.append("identity" if operation == ZERO else f"{operation}{_strided(position.stride)}")
        nodes.append(Node("output", f"conv 1x1, {self.head} channels, mean, classes"))
        return chain(tuple(nodes), tuple(labels))


def _strided(stride: int) -> str:
    return f", /{stride}" if stride > 1 else ""
