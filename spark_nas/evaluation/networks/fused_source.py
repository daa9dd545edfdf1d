"""One state of a fused DARTS cell: what all edges out of it share, and what each does with it (`fused`)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.columns import Separable, by_channel, by_image, every_second, pointwise
from spark_nas.evaluation.networks.operations import FactorisedReduce

# x_1CHM: see `columns`.

Number = Tensor | float
_Statistics = tuple[Tensor, Tensor]


class Source:
    """A state x_1CHM of `batch` examples, and the stride of the edges out of it."""

    def __init__(self, x_1CHM: Tensor, batch: int, stride: int) -> None:
        self.x_1CHM = x_1CHM
        self.batch = batch
        self.stride = stride
        self._firsts: dict[int, Source] = {}
        self._rests: dict[int, Tensor] = {}
        self._pooled: dict[type[nn.Module], Tensor] = {}
        self._normalised: dict[type[nn.Module], tuple[Tensor, Tensor, Tensor]] = {}

    @cached_property
    def positive(self) -> Tensor:
        """ReLU."""
        return torch.relu(self.x_1CHM)

    @cached_property
    def halves(self) -> tuple[Tensor, Tensor]:
        """What the two convolutions of a factorised reduction read."""
        even, odd = (every_second(self.positive, self.batch, shifted=shifted) for shifted in (False, True))
        return even, odd

    def zeros(self) -> Tensor:
        """What an edge of `none` hands on."""
        like = self.x_1CHM if self.stride == 1 else every_second(self.x_1CHM, self.batch, shifted=False)
        return torch.zeros_like(like)

    def first(self, partial: int) -> Source:
        """The first 1/`partial` of the channels."""
        if partial == 1:
            return self
        if partial not in self._firsts:
            first_1cHM = self.x_1CHM[:, : self.x_1CHM.shape[1] // partial]
            first_1cHM = first_1cHM.contiguous(memory_format=torch.channels_last)
            self._firsts[partial] = Source(first_1cHM, self.batch, self.stride)
        return self._firsts[partial]

    def rest(self, partial: int) -> Tensor:
        """The other channels, as `PartialMixedOperation` lets them pass."""
        if partial not in self._rests:
            rest_1cHM = self.x_1CHM[:, self.x_1CHM.shape[1] // partial :].contiguous(memory_format=torch.channels_last)
            if self.stride > 1:
                rest_1KHW = by_image(rest_1cHM, self.batch)
                rest_1KHW = functional.max_pool2d(rest_1KHW, 2, stride=self.stride, ceil_mode=True)
                rest_1cHM = by_channel(rest_1KHW, self.batch)
            self._rests[partial] = rest_1cHM
        return self._rests[partial]

    def pooled(self, layers: nn.Sequential) -> Tensor:
        """Pool and batch norm. Statistics of the batch are the same for all edges: only the running ones differ."""
        pool, norm = layers
        assert isinstance(norm, nn.BatchNorm2d)
        kind = type(pool)
        if kind not in self._pooled:
            self._pooled[kind] = by_channel(pool(by_image(self.x_1CHM, self.batch)), self.batch)
        pooled_1CHM = self._pooled[kind]
        if not norm.training:
            return normalised(norm, pooled_1CHM)
        if kind not in self._normalised:
            mean_C, variance_C = pooled_1CHM.new_zeros((2, pooled_1CHM.shape[1])).unbind()
            # With momentum 1 the running statistics become the batch's.
            y_1CHM = functional.batch_norm(pooled_1CHM, mean_C, variance_C, training=True, momentum=1.0, eps=norm.eps)
            self._normalised[kind] = y_1CHM, mean_C, variance_C
        y_1CHM, *statistics = self._normalised[kind]
        if norm.track_running_stats:
            _remember(norm, *statistics)
        return y_1CHM

    def reduced(self, module: FactorisedReduce, scale: Number = 1.0) -> Tensor:
        """The factorised reduction of the state, times `scale`."""
        convolutions = (module.even, module.odd)
        parts = [pointwise(half, c.weight.flatten(1)) for half, c in zip(self.halves, convolutions, strict=True)]
        return normalised(module.norm, torch.cat(parts, dim=1), scale)

    def convolved(self, layers: Sequence[nn.Module], scale: Number = 1.0) -> Tensor:
        """(ReLU, depthwise, pointwise, batch norm) once or twice, times `scale`."""
        x_1CHM = self.positive
        last = len(layers) - 4
        for first in range(0, len(layers), 4):
            _, depth, point, norm = layers[first : first + 4]
            assert isinstance(depth, nn.Conv2d)
            assert isinstance(point, nn.Conv2d)
            assert isinstance(norm, nn.BatchNorm2d)
            x_1CHM = torch.relu_(x_1CHM) if first else x_1CHM
            x_1CHM = separable(x_1CHM, depth, point, self.batch)
            x_1CHM = normalised(norm, x_1CHM, scale if first == last else 1.0)
        return x_1CHM


def separable(x_1CHM: Tensor, depth: nn.Conv2d, point: nn.Conv2d, batch: int) -> Tensor:
    """Both convolutions."""
    stride, dilation = depth.stride[0], depth.dilation[0]
    y_1CHM: Tensor = Separable.apply(x_1CHM, depth.weight, point.weight, batch, stride, dilation)  # type: ignore[no-untyped-call]
    return y_1CHM


def normalised(norm: nn.BatchNorm2d, x_1CHM: Tensor, scale: Number = 1.0) -> Tensor:
    """What an affine-free batch norm answers, times `scale`; it remembers statistics as it always does."""
    remembers = norm.track_running_stats or not norm.training
    scale_C: Tensor | None = None
    if isinstance(scale, Tensor) or scale != 1.0:
        scale_C = torch.as_tensor(scale, dtype=x_1CHM.dtype).expand(x_1CHM.shape[1]).contiguous()
    if norm.training and norm.track_running_stats:
        _counter(norm).add_(1)
    mean_C, variance_C = (norm.running_mean, norm.running_var) if remembers else (None, None)
    momentum = _momentum(norm)
    return functional.batch_norm(x_1CHM, mean_C, variance_C, scale_C, None, norm.training, momentum, norm.eps)


def _remember(norm: nn.BatchNorm2d, mean_C: Tensor, variance_C: Tensor) -> None:
    """Move the running statistics towards a batch's."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    _counter(norm).add_(1)
    norm.running_mean.lerp_(mean_C, _momentum(norm))
    norm.running_var.lerp_(variance_C, _momentum(norm))


def _counter(norm: nn.BatchNorm2d) -> Tensor:
    assert norm.num_batches_tracked is not None  # it is tracking
    return norm.num_batches_tracked


def _momentum(norm: nn.BatchNorm2d) -> float:
    assert norm.momentum is not None  # the cells' norms have torch's default
    return norm.momentum
