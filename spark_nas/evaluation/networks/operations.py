"""The operations of the image cells: DARTS (Liu et al., ICLR 2019) and NAS-Bench-201 (Dong and Yang, ICLR 2020).

All keep the number of channels unless they say otherwise, and a stride of 2 maps a side n to ceil(n / 2).
`affine` is whether batch norms learn a scale and a shift: not in a supernet, where the operations' sizes must
stay comparable, and always in the network that is trained for its own sake.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.mixed import Zero

# x_BCHW: batch, channels, height, width.


def channels_innermost(x_BCHW: Tensor) -> Tensor:
    """The same numbers with channels next to each other in memory, in which CPUs convolve and pool few of them faster.

    What follows keeps the layout. On accelerators it is left as it is.
    """
    return x_BCHW.contiguous(memory_format=torch.channels_last) if x_BCHW.device.type == "cpu" else x_BCHW


def relu_conv_bn(inputs: int, outputs: int, kernel: int, *, stride: int = 1, affine: bool = True) -> nn.Sequential:
    """ReLU, convolution without bias, batch norm."""
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs, affine=affine),
    )


def _depthwise(channels: int, kernel: int, stride: int, dilation: int, affine: bool) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride=stride, padding=padding, dilation=dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def separable_conv(channels: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    """Depthwise and pointwise, twice; only the first is strided."""
    first = _depthwise(channels, kernel, stride, 1, affine)
    return nn.Sequential(*first, *_depthwise(channels, kernel, 1, 1, affine))


def dilated_conv(channels: int, kernel: int, stride: int, affine: bool) -> nn.Sequential:
    """Depthwise with dilation 2 and pointwise, once."""
    return nn.Sequential(*_depthwise(channels, kernel, stride, 2, affine))


class FactorisedReduce(nn.Module):
    """Half the resolution without losing pixels: two 1x1 convolutions of stride 2, one shifted by a pixel."""

    def __init__(self, inputs: int, outputs: int, *, affine: bool = True) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, affine=affine)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, outputs, ceil(H / 2), ceil(W / 2)]; the shifted copy is padded, so that odd sides fit too."""
        x_BCHW = functional.relu(x_BCHW)
        shifted_BCHW = functional.pad(x_BCHW, (0, 1, 0, 1))[:, :, 1:, 1:]
        normed: Tensor = self.norm(torch.cat([self.even(x_BCHW), self.odd(shifted_BCHW)], dim=1))
        return normed


def pool(kind: str, channels: int, stride: int, affine: bool) -> nn.Module:
    """3x3 max or average (of the pixels inside the image); in the search form followed by an affine-free norm."""
    layer: nn.Module
    if kind == "max_pool_3x3":
        layer = nn.MaxPool2d(3, stride=stride, padding=1)
    else:
        layer = nn.AvgPool2d(3, stride=stride, padding=1, count_include_pad=False)
    return layer if affine else nn.Sequential(layer, nn.BatchNorm2d(channels, affine=False))


def darts_operation(name: str, channels: int, stride: int, *, affine: bool) -> nn.Module:
    """One of the eight of `spaces.darts.OPERATIONS`; paths of all but `none` and the identity may be dropped."""
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else DropPath(FactorisedReduce(channels, channels, affine=affine))
    if name.endswith("pool_3x3"):
        return DropPath(pool(name, channels, stride, affine))
    make = separable_conv if name.startswith("sep") else dilated_conv
    return DropPath(make(channels, int(name[-1]), stride, affine))


def nas_bench_201_operation(name: str, channels: int, *, affine: bool) -> nn.Module:
    """One of the five operations of `spaces.nas_bench_201.OPERATIONS`."""
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return relu_conv_bn(channels, channels, int(name[-1]), affine=affine)


class DropPath(nn.Module):
    """Drop an operation's whole output for single examples, and scale what is left (Larsson et al., ICLR 2017).

    `drop_path` is the probability; the training loop sets it before each epoch.
    """

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation
        self.drop_path = 0.0

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The operation's output, as it is in evaluation or at probability 0."""
        y_BCHW: Tensor = self.operation(x_BCHW)
        if not self.training or self.drop_path == 0.0:
            return y_BCHW
        keep = 1.0 - self.drop_path
        mask_B111 = y_BCHW.new_empty((y_BCHW.shape[0], 1, 1, 1)).bernoulli_(keep)
        return y_BCHW * mask_B111 / keep
