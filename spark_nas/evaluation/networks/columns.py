"""Separable convolutions of small images that are fast on a CPU: the examples of a batch are laid side by side.

A convolution over [B, C, H, W] with few channels leaves vector units idle, and the backward pass of one that is
depthwise and larger than 3x3, or dilated, has no fast kernel at all. Here the batch stands beside the channels in memory,
[H, W, B, C], so that a depthwise convolution is one of B * C channels, its gradients are two more such
convolutions, a pointwise one is a product of matrices, and batch norms and pools read what they always read.

A tensor x_1CHM is [1, C, H, W * B], example fastest after channel ("channels last"), as batch norms and pointwise
convolutions take it; the same memory seen by depthwise ones is x_1KHW, [1, B * C, H, W].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

WIDE = 16
"""Columns below which a product of matrices is slow, so that rows are joined in pairs or fours."""


def to_columns(x_BCHW: Tensor) -> Tensor:
    """x_1CHM; copies nothing that came from `from_columns`."""
    batch, channels, height, width = x_BCHW.shape
    x_HWBC = x_BCHW.permute(2, 3, 0, 1).contiguous()
    return x_HWBC.view(1, height, width * batch, channels).permute(0, 3, 1, 2)


def from_columns(x_1CHM: Tensor, batch: int) -> Tensor:
    """x_BCHW, a view."""
    _, channels, height, columns = x_1CHM.shape
    return x_1CHM.permute(0, 2, 3, 1).reshape(height, columns // batch, batch, channels).permute(2, 3, 0, 1)


def by_image(x_1CHM: Tensor, batch: int) -> Tensor:
    """x_1KHW, a view: each channel of each example is an image of its own."""
    _, channels, height, columns = x_1CHM.shape
    x_1HWK = x_1CHM.permute(0, 2, 3, 1).reshape(1, height, columns // batch, batch * channels)
    return x_1HWK.permute(0, 3, 1, 2)


def by_channel(x_1KHW: Tensor, batch: int) -> Tensor:
    """The inverse of `by_image`."""
    _, images, height, width = x_1KHW.shape
    x_1HMC = x_1KHW.permute(0, 2, 3, 1).reshape(1, height, width * batch, images // batch)
    return x_1HMC.permute(0, 3, 1, 2)


def every_second(x_1CHM: Tensor, batch: int, *, shifted: bool) -> Tensor:
    """Every second row and column, from the second on if `shifted` (beyond the border is zero); sides rounded up."""
    x_1KHW = by_image(x_1CHM, batch)
    if shifted:
        x_1KHW = functional.pad(x_1KHW, (0, x_1KHW.shape[3] % 2, 0, x_1KHW.shape[2] % 2))[:, :, 1:, 1:]
    return by_channel(x_1KHW[:, :, ::2, ::2], batch)


def pointwise(x_1CHM: Tensor, weight_DC: Tensor) -> Tensor:
    """A 1x1 convolution, [1, D, H, M]."""
    _, channels, height, columns = x_1CHM.shape
    x_NC = x_1CHM.permute(0, 2, 3, 1).reshape(-1, channels)
    joined = _joined(*x_NC.shape)
    weights = torch.block_diag(*[weight_DC.t()] * joined)
    y_NC = x_NC.reshape(-1, joined * channels) @ weights
    return y_NC.view(1, height, columns, len(weight_DC)).permute(0, 3, 1, 2)


def _pointwise_slope(y_1DHM: Tensor, x_1CHM: Tensor) -> Tensor:
    """The gradient [D, C] of pointwise weights, given that of their output."""
    y_ND, x_NC = (v.permute(0, 2, 3, 1).reshape(-1, v.shape[1]) for v in (y_1DHM, x_1CHM))
    outputs, (rows, channels) = y_ND.shape[1], x_NC.shape
    joined = _joined(rows, channels)
    product = y_ND.reshape(-1, joined * outputs).t() @ x_NC.reshape(-1, joined * channels)
    if joined == 1:
        return product
    blocks = product.view(joined, outputs, joined, channels)
    return blocks.diagonal(dim1=0, dim2=2).sum(-1)


def _joined(rows: int, channels: int) -> int:
    """How many rows to make one of: zeros are multiplied, and it is still faster."""
    return next(joined for joined in (4, 2, 1) if joined == 1 or (joined * channels <= WIDE and rows % joined == 0))


def depthwise(x_1CHM: Tensor, weight_C1kk: Tensor, batch: int, stride: int, dilation: int) -> Tensor:
    """A depthwise convolution with the padding that keeps sides (rounded up, at a stride)."""
    padding = dilation * (weight_C1kk.shape[2] // 2)
    x_1KHW, weight_K1kk = by_image(x_1CHM, batch), weight_C1kk.repeat(batch, 1, 1, 1)
    images = x_1KHW.shape[1]
    return by_channel(functional.conv2d(x_1KHW, weight_K1kk, None, stride, padding, dilation, images), batch)


def _depthwise_slope(
    y_1CHM: Tensor, x_1CHM: Tensor, kernel: int, batch: int, stride: int, dilation: int
) -> tuple[Tensor, Tensor]:
    """The gradient of its output, spread over the input's pixels, and that of its weights [C, 1, k, k].

    The weights' is the input convolved with the output's gradient: stride and dilation change places.
    """
    x_1KHW, y_1KHW = by_image(x_1CHM, batch), by_image(y_1CHM, batch)
    images, padding = x_1KHW.shape[1], dilation * (kernel // 2)
    slope_1Kkk = functional.conv2d(x_1KHW, y_1KHW.transpose(0, 1), None, dilation, padding, stride, images)
    slope_C1kk = slope_1Kkk[:, :, :kernel, :kernel].reshape(batch, -1, 1, kernel, kernel).sum(0)
    if stride == 1:
        return y_1CHM, slope_C1kk
    spread_1KHW = torch.zeros_like(x_1KHW)
    spread_1KHW[:, :, ::stride, ::stride] = y_1KHW
    return by_channel(spread_1KHW, batch), slope_C1kk


class Separable(torch.autograd.Function):
    """Depthwise, then pointwise: `Separable.apply(x_1CHM, depth_C1kk, point_DC11, batch, stride, dilation)`."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401  # torch's own, which has no type
        x_1CHM: Tensor,
        depth_C1kk: Tensor,
        point_DC11: Tensor,
        batch: int,
        stride: int,
        dilation: int,
    ) -> Tensor:
        """[1, D, ceil(H / stride), ceil(W / stride) * B]."""
        between_1CHM = depthwise(x_1CHM, depth_C1kk, batch, stride, dilation)
        ctx.save_for_backward(x_1CHM, depth_C1kk, point_DC11, between_1CHM)
        ctx.batch, ctx.stride, ctx.dilation = batch, stride, dilation
        return pointwise(between_1CHM, point_DC11.flatten(1))

    @staticmethod
    def backward(ctx: Any, slope_1DHM: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Made of differentiable functions, so that it has a derivative too."""
        x_1CHM, depth_C1kk, point_DC11, between_1CHM = ctx.saved_tensors
        batch, stride, dilation = ctx.batch, ctx.stride, ctx.dilation
        if torch.is_grad_enabled():  # for a second derivative the way here must be in the graph
            between_1CHM = depthwise(x_1CHM, depth_C1kk, batch, stride, dilation)
        slope_1DHM = slope_1DHM.contiguous(memory_format=torch.channels_last)
        point_slope = _pointwise_slope(slope_1DHM, between_1CHM).view_as(point_DC11)
        inner_1CHM = pointwise(slope_1DHM, point_DC11.flatten(1).t())
        kernel = depth_C1kk.shape[2]
        spread_1CHM, depth_slope = _depthwise_slope(inner_1CHM, x_1CHM, kernel, batch, stride, dilation)
        x_slope = depthwise(spread_1CHM, depth_C1kk.flip(2, 3), batch, 1, dilation) if ctx.needs_input_grad[0] else None
        return x_slope, depth_slope, point_slope, None, None, None
