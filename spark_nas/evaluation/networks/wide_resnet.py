"""Wide residual networks with pre-activation blocks (Zagoruyko and Komodakis, BMVC 2016).

conv 3x3 (16) - three groups of n blocks - BN, ReLU, mean, classes. Convolutions have no biases and start from
He's normal distribution over their outputs, as in the authors' code. A recipe's `dropout` acts between the two
convolutions of a block.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.mixed import Gates
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.settings import fraction
from spark_nas.spaces.wide_resnet import WideResNet

# x_BCHW: batch, channels, height, width.


class Block(nn.Module):
    """BN, ReLU, conv, BN, ReLU, dropout, conv, plus a shortcut: 1x1 where width or stride changes."""

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        changes = stride != 1 or inputs != outputs
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False) if changes else None

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, outputs, ceil(H / stride), ceil(W / stride)]; the 1x1 shortcut reads the activated input."""
        y_BCHW = functional.relu(self.norm1(x_BCHW))
        shortcut_BCHW = x_BCHW if self.shortcut is None else self.shortcut(y_BCHW)
        y_BCHW = functional.relu(self.norm2(self.conv1(y_BCHW)))
        z_BCHW: Tensor = self.conv2(self.dropout(y_BCHW)) + shortcut_BCHW
        return z_BCHW


class WideResNetNetwork(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes]. It has no choices, so gates change nothing."""

    def __init__(
        self,
        options: WideResNet,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        dropout, blocks = fraction(recipe, "dropout", 0.0), options.blocks(recipe)
        self.stem = nn.Conv2d(input_shape[0], 16, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList()
        inputs = 16
        for group, outputs in enumerate(options.widths(recipe)):
            for block in range(blocks):
                stride = 2 if group > 0 and block == 0 else 1
                self.blocks.append(Block(inputs, outputs, stride, dropout))
                inputs = outputs
        self.norm = nn.BatchNorm2d(inputs)
        self.classifier = nn.Linear(inputs, classes)
        _initialise(self)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.stem(x_BCHW)
        for block in self.blocks:
            x_BCHW = block(x_BCHW)
        features_BC = functional.relu(self.norm(x_BCHW)).mean(dim=(2, 3))
        logits_BK: Tensor = self.classifier(features_BC)
        return logits_BK


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size)
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
