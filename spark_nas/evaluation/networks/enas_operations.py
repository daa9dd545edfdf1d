"""Operations of the ENAS networks that others do not have (Pham et al., ICML 2018, and released code).

All keep the number of channels, and the resolution unless they say otherwise. `affine` is whether batch norms learn a
scale and a shift.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.operations import DropPath, FactorisedReduce, separable_conv

# x_BCHW: batch, channels, height, width.


class LinearReduce(FactorisedReduce):
    """A factorised reduction without the ReLU in front: ENAS reduces states that are read as they are."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, outputs, ceil(H / 2), ceil(W / 2)]."""
        shifted_BCHW = functional.pad(x_BCHW, (0, 1, 0, 1))[:, :, 1:, 1:]
        normed: Tensor = self.norm(torch.cat([self.even(x_BCHW), self.odd(shifted_BCHW)], dim=1))
        return normed


def plain_pool(name: str) -> nn.Module:
    """3x3 max or average of the pixels inside the image, at stride 1, without a norm."""
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride=1, padding=1)
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


def micro_operation(name: str, channels: int, *, affine: bool) -> nn.Module:
    """One of `spaces.enas_micro.OPERATIONS`; paths of all but the identity may be dropped."""
    if name == "identity":
        return nn.Identity()
    if name.endswith("pool_3x3"):
        return DropPath(plain_pool(name))
    return DropPath(separable_conv(channels, int(name[-1]), 1, affine))


def macro_operation(name: str, channels: int, *, affine: bool) -> nn.Module:
    """One of `spaces.enas_macro.OPERATIONS`: a 1x1 convolution, batch norm and ReLU, then what the name says.

    Convolutions end with batch norm and ReLU; a separable one is depthwise and pointwise, once.
    """
    entry = [nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=affine), nn.ReLU()]
    if name.endswith("pool_3x3"):
        return nn.Sequential(*entry, plain_pool(name))
    kernel = int(name[-1])
    groups = channels if name.startswith("sep") else 1
    body: list[nn.Module] = [
        nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False),
        *([nn.Conv2d(channels, channels, 1, bias=False)] if groups > 1 else []),
        nn.BatchNorm2d(channels, affine=affine),
        nn.ReLU(),
    ]
    return nn.Sequential(*entry, *body)
