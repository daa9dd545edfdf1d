"""Laws of the operations on examples that stand beside channels."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from spark_nas.evaluation.networks.columns import (
    Separable,
    WeightedSum,
    by_channel,
    by_image,
    every_second,
    from_columns,
    pointwise,
    to_columns,
)


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


shapes = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(2, 7), st.integers(2, 7))


@given(shape=shapes)
@settings(max_examples=20, deadline=None)
def test_columns_and_images_are_undone_and_copy_nothing(shape: tuple[int, ...]):
    x_BCHW = noise(*shape, seed=1).detach()
    x_1CHM = to_columns(x_BCHW)
    assert x_1CHM.shape == (1, shape[1], shape[2], shape[3] * shape[0])
    assert torch.equal(x_BCHW, from_columns(x_1CHM, shape[0]))
    assert to_columns(from_columns(x_1CHM, shape[0])).data_ptr() == x_1CHM.data_ptr()
    x_1KHW = by_image(x_1CHM, shape[0])
    assert torch.equal(x_BCHW.flatten(0, 1), x_1KHW[0])
    assert torch.equal(x_1CHM, by_channel(x_1KHW, shape[0]))
    assert x_1KHW.data_ptr() == x_1CHM.data_ptr()


@given(shape=shapes)
@settings(max_examples=20, deadline=None)
def test_every_second_pixel_is_that_of_the_image(shape: tuple[int, ...]):
    x_BCHW = noise(*shape, seed=1).detach()
    shifted_BCHW = F.pad(x_BCHW, (0, 1, 0, 1))[:, :, 1:, 1:]
    for x, shifted in ((x_BCHW, False), (shifted_BCHW, True)):
        actual = from_columns(every_second(to_columns(x_BCHW), shape[0], shifted=shifted), shape[0])
        assert torch.equal(x[:, :, ::2, ::2], actual)


@given(
    shape=shapes,
    outputs=st.integers(1, 5),
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.sampled_from([1, 2]),
    stride=st.sampled_from([1, 2]),
    single=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_a_separable_convolution_is_the_two_convolutions_and_so_are_its_gradients(
    shape: tuple[int, ...], outputs: int, kernel: int, dilation: int, stride: int, single: bool
):
    batch, channels = shape[:2]
    dtype, tolerance = (torch.float32, 1e-4) if single else (torch.float64, 1e-12)
    x = noise(*shape, seed=1, dtype=dtype)
    depth = noise(channels, 1, kernel, kernel, seed=2, dtype=dtype)
    point = noise(outputs, channels, 1, 1, seed=3, dtype=dtype)
    padding = dilation * (kernel // 2)
    expected = F.conv2d(F.conv2d(x, depth, None, stride, padding, dilation, channels), point)
    actual = from_columns(Separable.apply(to_columns(x), depth, point, batch, stride, dilation), batch)
    slope = noise(*expected.shape, seed=4, dtype=dtype).detach()
    assert torch.allclose(expected, actual, rtol=0, atol=tolerance)
    for right, got in zip(
        torch.autograd.grad(expected, (x, depth, point), slope),
        torch.autograd.grad(actual, (x, depth, point), slope),
        strict=True,
    ):
        assert torch.allclose(right, got, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize(("stride", "dilation"), [(1, 2), (2, 1)])
def test_a_separable_convolution_has_second_derivatives(stride: int, dilation: int):
    x = to_columns(noise(2, 2, 4, 3, seed=1).detach()).requires_grad_()
    depth, point = noise(2, 1, 3, 3, seed=2), noise(2, 2, 1, 1, seed=3)
    assert torch.autograd.gradgradcheck(
        lambda *tensors: Separable.apply(*tensors, 2, stride, dilation), (x, depth, point)
    )


def test_weights_get_their_gradients_where_the_input_wants_none():
    x, depth, point = noise(2, 3, 4, 4, seed=1).detach(), noise(3, 1, 3, 3, seed=2), noise(3, 3, 1, 1, seed=3)
    expected = torch.autograd.grad(F.conv2d(F.conv2d(x, depth, padding=1, groups=3), point).sum(), (depth, point))
    actual = torch.autograd.grad(Separable.apply(to_columns(x), depth, point, 2, 1, 1).sum(), (depth, point))
    assert all(torch.allclose(a, b) for a, b in zip(expected, actual, strict=True))


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 9, 17])
@pytest.mark.parametrize("pixels", [(2, 2), (3, 1)])
def test_a_pointwise_convolution_is_one_however_many_rows_are_joined(channels: int, pixels: tuple[int, int]):
    x, layer = noise(1, channels, *pixels, seed=1), nn.Conv2d(channels, 5, 1, bias=False).double()
    assert torch.allclose(layer(x), pointwise(to_columns(x), layer.weight.flatten(1)))


def test_a_weighted_sum_and_its_first_and_second_derivatives():
    ys = [to_columns(noise(2, 3, 2, 2, seed=seed).detach()).requires_grad_() for seed in (1, 2)]
    weights = [noise(seed=seed) for seed in (3, 4, 5)]

    def mean(*tensors: torch.Tensor) -> torch.Tensor:
        return WeightedSum.apply(2, *tensors)

    assert torch.allclose(ys[0] * weights[0] + ys[1] * weights[1], mean(*ys, *weights))
    assert torch.autograd.gradcheck(mean, (*ys, *weights))
    assert torch.autograd.gradgradcheck(mean, (*ys, *weights))
