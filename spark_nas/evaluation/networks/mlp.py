"""A multi-layer perceptron: hidden layers of (linear, activation, dropout), then the classes.

Any input is flattened. Weights start from He's normal distribution for the rectifiers (He et al., ICCV 2015)
and from Glorot's for the rest (Glorot and Bengio, AISTATS 2010); biases start at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.settings import fraction

# x_BF: batch, features.

_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "gelu": nn.GELU,
}
_SATURATING = ("tanh", "sigmoid")


class MlpNetwork(nn.Module):
    """[B, ...] -> logits [B, classes]. It has no choices, so gates change nothing."""

    def __init__(
        self,
        options: Mlp,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        activation, dropout = options.activation(recipe), fraction(recipe, "dropout", 0.0)
        sizes = (math.prod(input_shape), *options.hidden_units(recipe))
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(sizes):
            linear = nn.Linear(inputs, outputs)
            if activation in _SATURATING:
                nn.init.xavier_normal_(linear.weight)
            else:
                nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, _ACTIVATIONS[activation](), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.classifier = nn.Linear(sizes[-1], classes)

    def forward(self, x_BF: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [B, classes]."""
        logits_BK: Tensor = self.classifier(self.hidden(x_BF))
        return logits_BK
