"""The network of a NAS-Bench-201 cell (Dong and Yang, ICLR 2020, section 2.1).

conv 3x3 - N cells - residual block /2 - N cells - residual block /2 - N cells - BN, ReLU, mean, classes.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates, mixed, sum_of
from spark_nas.evaluation.networks.operations import channels_innermost, nas_bench_201_operation, relu_conv_bn
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.nas_bench_201 import EDGES, NasBench201, choice_name

# x_BCHW: batch, channels, height, width.


class Cell(nn.Module):
    """Four nodes; each is the sum of the operations on its incoming edges."""

    def __init__(self, options: NasBench201, architecture: Architecture, channels: int, *, affine: bool) -> None:
        super().__init__()
        choices = {choice.name: choice for choice in options.build().choices}
        self.edges = nn.ModuleDict(
            {
                (name := choice_name(*edge)): mixed(
                    choices[name],
                    architecture,
                    lambda operation: nas_bench_201_operation(operation, channels, affine=affine),
                )
                for edge in EDGES
            }
        )

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Same shape."""
        states = [x_BCHW]
        for target in (1, 2, 3):
            edges = [self.edges[choice_name(source, target)] for source in range(target)]
            states.append(sum_of(edges, states, gates))  # type: ignore[arg-type]  # ModuleDict forgets its type
        return states[-1]


class Reduction(nn.Module):
    """The fixed residual block between stages: twice the channels, half the resolution."""

    def __init__(self, channels: int, *, affine: bool) -> None:
        super().__init__()
        self.first = relu_conv_bn(channels, 2 * channels, 3, stride=2, affine=affine)
        self.second = relu_conv_bn(2 * channels, 2 * channels, 3, affine=affine)
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, stride=2, ceil_mode=True), nn.Conv2d(channels, 2 * channels, 1, bias=False)
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, 2C, ceil(H / 2), ceil(W / 2)]."""
        y_BCHW: Tensor = self.second(self.first(x_BCHW)) + self.shortcut(x_BCHW)
        return y_BCHW


class NasBench201Network(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes]."""

    def __init__(
        self,
        options: NasBench201,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        channels, cells = options.scale(recipe)
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.cells = nn.ModuleList()
        for stage in range(3):
            if stage:
                self.cells.append(Reduction(channels, affine=affine))
                channels *= 2
            self.cells.extend(Cell(options, architecture, channels, affine=affine) for _ in range(cells))
        self.head = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.stem(channels_innermost(x_BCHW))
        for cell in self.cells:
            x_BCHW = cell(x_BCHW, gates) if isinstance(cell, Cell) else cell(x_BCHW)
        logits_BK: Tensor = self.classifier(self.head(x_BCHW))
        return logits_BK
