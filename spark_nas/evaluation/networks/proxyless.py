"""The network of a ProxylessNAS chain (Cai, Zhu and Han, ICLR 2019, section 4.2; the released search code).

stem 3x3 - fixed inverted bottleneck of expansion 1 - blocks - conv 1x1 - mean - dropout - classes. Every convolution
is followed by batch norm, and by ReLU6 but for the last of a block, which stays linear. Convolutions have no biases
and start from He's normal distribution over their outputs (k * k * outputs, depthwise ones too), as released.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Zero, mixed
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.proxyless import FIRST, STEM, ZERO, Position, Proxyless

# x_BCHW: batch, channels, height, width.


def convolution(
    inputs: int,
    outputs: int,
    kernel: int,
    *,
    stride: int = 1,
    groups: int = 1,
    linear: bool = False,
    affine: bool = True,
) -> nn.Sequential:
    """Convolution without bias, batch norm with the released epsilon, ReLU6 unless `linear`.

    [B, inputs, H, W] -> [B, outputs, ceil(H / stride), ceil(W / stride)].
    """
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3, affine=affine),
    ]
    if not linear:
        layers.append(nn.ReLU6(inplace=True))  # the norm keeps its input, not what is overwritten here
    return nn.Sequential(*layers)


def inverted_bottleneck(
    inputs: int, outputs: int, kernel: int, expansion: int, *, stride: int = 1, affine: bool = True
) -> nn.Sequential:
    """Widen by a 1x1 convolution (not at expansion 1), convolve depthwise, narrow by a linear 1x1 convolution."""
    inner = inputs * expansion
    widen = [convolution(inputs, inner, 1, affine=affine)] if expansion > 1 else []
    return nn.Sequential(
        *widen,
        convolution(inner, inner, kernel, stride=stride, groups=inner, affine=affine),
        convolution(inner, outputs, 1, linear=True, affine=affine),
    )


def proxyless_operation(name: str, position: Position, *, affine: bool) -> nn.Module:
    """One of `spaces.proxyless.OPERATIONS`: `zero`, or `mbconv{kernel}_e{expansion}`."""
    if name == ZERO:
        return Zero()
    kernel, expansion = (int(number) for number in name.removeprefix("mbconv").split("_e"))
    return inverted_bottleneck(
        position.inputs, position.outputs, kernel, expansion, stride=position.stride, affine=affine
    )


class Block(nn.Module):
    """A mixed operation and, where the shape is kept, the identity beside it."""

    def __init__(self, operation: MixedOperation, *, shortcut: bool) -> None:
        super().__init__()
        self.operation = operation
        self.shortcut = shortcut

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """[B, outputs, ceil(H / stride), ceil(W / stride)]; x itself where only `zero` runs."""
        if not self.shortcut:
            return self.operation(x_BCHW, gates)  # type: ignore[no-any-return]  # Module.__call__ is untyped
        if self.operation.is_silent(gates):
            return x_BCHW
        y_BCHW: Tensor = x_BCHW + self.operation(x_BCHW, gates)
        return y_BCHW


class ProxylessNetwork(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes].

    Raises OptionError for an image with a side smaller than the product of the strides.
    """

    def __init__(
        self,
        options: Proxyless,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        if min(input_shape[1:]) < options.reduction:
            remedy = f"use sides of at least {options.reduction}, or smaller strides (stem_stride, strides)"
            raise OptionError("input_shape", input_shape, f"the strides divide sides by {options.reduction}: {remedy}")
        stem, first, head = options.channels(STEM), options.channels(FIRST), options.head
        self.stem = convolution(input_shape[0], stem, 3, stride=options.stem_stride)
        self.first = inverted_bottleneck(stem, first, 3, 1)
        learn = affine or options.search_affine
        self.blocks = nn.ModuleList()
        for choice, position in zip(options.build().choices, options.positions(), strict=True):
            make = partial(proxyless_operation, position=position, affine=learn)
            self.blocks.append(Block(mixed(choice, architecture, make), shortcut=position.keeps_shape))
        self.head = convolution(options.positions()[-1].outputs, head, 1)
        self.dropout = nn.Dropout(options.dropout_of(recipe))
        self.classifier = nn.Linear(head, classes)
        _initialise(self)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.first(self.stem(x_BCHW))
        for block in self.blocks:
            x_BCHW = block(x_BCHW, gates)
        features_BC = self.head(x_BCHW).mean(dim=(2, 3))
        logits_BK: Tensor = self.classifier(self.dropout(features_BC))
        return logits_BK


def _initialise(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=math.sqrt(2 / (module.out_channels * math.prod(module.kernel_size))))
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
