"""Separable convolutions of small images that are fast on a CPU: the examples of a batch are laid side by side.

A convolution over [B, C, H, W] with few channels leaves vector units idle, and the backward pass of one that is
depthwise and larger than 3x3, or dilated, has no fast kernel at all. Here the batch stands beside the channels in
memory, [H, W, B, C], so that a depthwise convolution is one of B * C channels, its gradients are two more such
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
    return _as_memory(x_1CHM, batch * channels, height, columns // batch)


def by_channel(x_1KHW: Tensor, batch: int) -> Tensor:
    """The inverse of `by_image`."""
    _, images, height, width = x_1KHW.shape
    return _as_memory(x_1KHW, images // batch, height, width * batch)


def rows_of(x_1CHM: Tensor) -> Tensor:
    """x_NC, a view: a row a pixel of an example."""
    x_1CHM = x_1CHM.contiguous(memory_format=torch.channels_last)
    channels = x_1CHM.shape[1]
    return x_1CHM.as_strided((x_1CHM.numel() // channels, channels), (channels, 1))


def _as_memory(x_channels_last: Tensor, channels: int, height: int, width: int) -> Tensor:
    """The same memory as [1, channels, height, width]; one call, as there are many."""
    x_channels_last = x_channels_last.contiguous(memory_format=torch.channels_last)
    size, row = x_channels_last.numel(), width * channels
    return x_channels_last.as_strided((1, channels, height, width), (size, 1, row, channels))


def every_second(x_1CHM: Tensor, batch: int, *, shifted: bool) -> Tensor:
    """Every second row and column, from the second on if `shifted` (beyond the border is zero); sides rounded up."""
    x_1KHW = by_image(x_1CHM, batch)
    if shifted:
        x_1KHW = functional.pad(x_1KHW, (0, x_1KHW.shape[3] % 2, 0, x_1KHW.shape[2] % 2))[:, :, 1:, 1:]
    return by_channel(x_1KHW[:, :, ::2, ::2], batch)


def pointwise(x_1CHM: Tensor, weight_DC: Tensor) -> Tensor:
    """A 1x1 convolution, [1, D, H, M]."""
    x_NC = rows_of(x_1CHM)
    rows, channels = x_NC.shape
    joined = _joined(rows, channels)
    if joined == 1:
        y_ND = x_NC @ weight_DC.t()
    else:
        y_ND = x_NC.reshape(-1, joined * channels) @ torch.block_diag(*[weight_DC.t()] * joined)  # type: ignore[no-untyped-call]
    _, _, height, columns = x_1CHM.shape
    outputs = len(weight_DC)
    return y_ND.as_strided((1, outputs, height, columns), (rows * outputs, 1, columns * outputs, outputs))


def _pointwise_slope(y_1DHM: Tensor, x_1CHM: Tensor) -> Tensor:
    """The gradient [D, C] of pointwise weights, given that of their output."""
    y_ND, x_NC = rows_of(y_1DHM), rows_of(x_1CHM)
    outputs, (rows, channels) = y_ND.shape[1], x_NC.shape
    joined = _joined(rows, channels)
    if joined == 1:
        return y_ND.t() @ x_NC
    product = y_ND.reshape(-1, joined * outputs).t() @ x_NC.reshape(-1, joined * channels)
    return product.view(joined, outputs, joined, channels).diagonal(dim1=0, dim2=2).sum(-1)


def _joined(rows: int, channels: int) -> int:
    """How many rows to make one of: zeros are multiplied, and it is still faster."""
    return next(joined for joined in (4, 2, 1) if joined == 1 or (joined * channels <= WIDE and rows % joined == 0))


def depthwise(x_1CHM: Tensor, weight_C1kk: Tensor, batch: int, stride: int, dilation: int) -> Tensor:
    """A depthwise convolution with the padding that keeps sides (rounded up, at a stride)."""
    padding = dilation * (weight_C1kk.shape[2] // 2)
    x_1KHW = by_image(x_1CHM, batch)
    images = x_1KHW.shape[1]
    weight_K1kk = weight_C1kk.expand(batch, *weight_C1kk.shape).reshape(images, *weight_C1kk.shape[1:])
    return by_channel(functional.conv2d(x_1KHW, weight_K1kk, None, stride, padding, dilation, images), batch)


def _depthwise_slope(slope_1CHM: Tensor, x_1CHM: Tensor, kernel: int, batch: int, stride: int, dilation: int) -> Tensor:
    """The gradient [C, 1, k, k] of depthwise weights, given that of their output.

    It is the input convolved with the output's gradient: stride and dilation change places.
    """
    x_1KHW, slope_1KHW = by_image(x_1CHM, batch), by_image(slope_1CHM, batch)
    images, padding = x_1KHW.shape[1], dilation * (kernel // 2)
    slope_1Kkk = functional.conv2d(x_1KHW, slope_1KHW.transpose(0, 1), None, dilation, padding, stride, images)
    return slope_1Kkk[:, :, :kernel, :kernel].reshape(batch, -1, 1, kernel, kernel).sum(0)


def _depthwise_back(
    slope_1CHM: Tensor, like_1CHM: Tensor, weight_C1kk: Tensor, batch: int, stride: int, dilation: int
) -> Tensor:
    """The gradient of the input of a depthwise convolution, shaped `like_1CHM`, given that of its output."""
    if stride > 1:
        spread_1KHW = torch.zeros_like(by_image(like_1CHM, batch))
        spread_1KHW[:, :, ::stride, ::stride] = by_image(slope_1CHM, batch)
        slope_1CHM = by_channel(spread_1KHW, batch)
    return depthwise(slope_1CHM, weight_C1kk.flip(2, 3), batch, 1, dilation)


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
        wants_x, wants_depth, wants_point, *_ = ctx.needs_input_grad
        slope_1DHM = slope_1DHM.contiguous(memory_format=torch.channels_last)
        inner_1CHM = pointwise(slope_1DHM, point_DC11.flatten(1).t())
        geometry = batch, stride, dilation
        return (
            _depthwise_back(inner_1CHM, x_1CHM, depth_C1kk, *geometry) if wants_x else None,
            _depthwise_slope(inner_1CHM, x_1CHM, depth_C1kk.shape[2], *geometry) if wants_depth else None,
            _pointwise_slope(slope_1DHM, between_1CHM).view_as(point_DC11) if wants_point else None,
            None,
            None,
            None,
        )


class WeightedSum(torch.autograd.Function):
    """`WeightedSum.apply(n, y_1, ..., y_n, w_1, ..., w_n, ...)`: the sum of y_i * w_i, w_i scalar tensors.

    Weights beyond the n-th have nothing to weigh; their gradient is 0.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:  # noqa: ANN401
        """Same shape as each y_i."""
        learning = any(ctx.needs_input_grad[1 + count :])
        ctx.count = count
        ctx.save_for_backward(*[y if learning else None for y in tensors[:count]], *tensors[count:])
        total_1CHM = tensors[0] * tensors[count].to(tensors[0].dtype)
        for y_1CHM, weight in zip(tensors[1:count], tensors[count + 1 : 2 * count], strict=True):
            total_1CHM.addcmul_(y_1CHM, weight.to(y_1CHM.dtype))
        return total_1CHM

    @staticmethod
    def backward(ctx: Any, slope_1CHM: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Products of the slope with each weight, and inner products with each y."""
        count, tensors = ctx.count, ctx.saved_tensors
        ys, weights = tensors[:count], tensors[count:]
        slope_1CHM = slope_1CHM.contiguous(memory_format=torch.channels_last)
        slope_N = rows_of(slope_1CHM).flatten()
        of_ys = [slope_1CHM * weight.to(slope_1CHM.dtype) for weight in weights[:count]]
        of_weights = [
            torch.dot(slope_N, rows_of(y).flatten()).to(weight.dtype) if wanted else None
            for y, weight, wanted in zip(ys, weights[:count], ctx.needs_input_grad[1 + count :], strict=False)
        ]
        return None, *of_ys, *of_weights, *map(torch.zeros_like, weights[count:])
