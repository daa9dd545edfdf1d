"""A multi-layer perceptron whose hyperparameters are searched.

Architectural dimensions are the number of layers, the nodes of each layer and the activation; the others are
regularisation, learning rate and batch size. All are recipe dimensions: the space has no choices, and the width of
layer i exists only where there are that many layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, IndependentChoices
from spark_nas.spaces.dimensions import RecipeValue, nearest
from spark_nas.spaces.graph import Graph, Node, chain
from spark_nas.spaces.settings import fraction, whole_number

MOST_LAYERS = 100
"""Nobody trains as deep a network without skip connections; a slip of the pen would make a recipe without end."""
ACTIVATIONS = ("relu", "tanh", "sigmoid", "elu", "gelu")


@dataclass(frozen=True)
class MlpSpace(IndependentChoices):
    """No choices: only the recipe varies."""

    options: Mlp


@dataclass(frozen=True)
class Mlp:
    """Options of the space; the recipe's `layers`, `units_1`, ..., `activation` and `dropout` shape the network."""

    name: ClassVar[str] = "mlp"

    max_layers: int = 4
    """Most hidden layers that the default recipe tries."""
    min_units: int = 16
    """Fewest nodes of a hidden layer."""
    max_units: int = 512
    """Most nodes of a hidden layer; searched on a log scale."""

    def __post_init__(self) -> None:
        whole_number({}, "max_layers", self.max_layers, most=MOST_LAYERS)
        for key in ("min_units", "max_units"):
            whole_number({}, key, getattr(self, key))
        if self.max_units <= self.min_units:
            raise OptionError("max_units", self.max_units, f"must be above min_units ({self.min_units})")

    def build(self) -> MlpSpace:
        """The search space: one architecture, the empty one."""
        return MlpSpace(self.name, (), self)

    @property
    def recipe_keys(self) -> tuple[str, ...]:
        """What the network reads from a recipe."""
        widths = tuple(f"units_{layer}" for layer in range(1, self.max_layers + 1))
        return "layers", "units", *widths, "activation", "dropout"

    def default_recipe(self) -> Mapping[str, object]:
        """All these dimensions in the form of an experiment file."""
        layers = {"layers": {"int": [1, self.max_layers]}} if self.max_layers > 1 else {"layers": 1}
        units: dict[str, object] = {}
        for layer in range(1, self.max_layers + 1):
            when = {"when": {"layers": {"min": layer}}} if layer > 1 else {}
            units[f"units_{layer}"] = {"int": [self.min_units, self.max_units], "log": True, **when}
        return {
            **layers,
            **units,
            "activation": {"choice": list(ACTIVATIONS)},
            "dropout": {"float": [0.0, 0.5]},
            "weight_decay": {"float": [1e-6, 1e-2], "log": True},
            "learning_rate": {"float": [1e-4, 1e-1], "log": True},
            "batch_size": {"choice": [32, 64, 128, 256]},
        }

    def hidden_units(self, recipe: Mapping[str, RecipeValue]) -> tuple[int, ...]:
        """Nodes of each hidden layer: `units_I`, else `units`, else `min_units`. `layers: 0` is a linear model."""
        layers = whole_number(recipe, "layers", 1, least=0, most=MOST_LAYERS)
        units = whole_number(recipe, "units", self.min_units)
        return tuple(whole_number(recipe, f"units_{layer}", units) for layer in range(1, layers + 1))

    def activation(self, recipe: Mapping[str, RecipeValue]) -> str:
        """The recipe's activation, by default the first of `ACTIVATIONS`."""
        activation = recipe.get("activation", ACTIVATIONS[0])
        if activation not in ACTIVATIONS:
            raise OptionError("activation", activation, nearest(activation, ACTIVATIONS))
        return str(activation)

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.hidden_units(recipe)
        self.activation(recipe)
        fraction(recipe, "dropout", 0.0)

    def graph(self, architecture: Architecture, recipe: Mapping[str, RecipeValue]) -> Graph:
        """The layers as a chain."""
        hidden = tuple(Node(f"layer {i}", f"{n} units") for i, n in enumerate(self.hidden_units(recipe), start=1))
        labels = (self.activation(recipe),) * len(hidden)
        return chain((Node("input", "input"), *hidden, Node("output", "classes")), ("", *labels))
