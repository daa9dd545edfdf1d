"""Batches of a data set as the network wants them: on its device, normalised, augmented for training.

What the loop asks of a feed is `Batches`; `Feed` gives examples, and `text_feed.TextFeed` windows of a running text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.search.protocols import Dataset
from spark_nas.search.records import derive_seed

NumpyBatch = tuple[NDArray[np.generic], NDArray[np.int64]]


class Batches(Protocol):
    """What training and measuring need of a feed."""

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        ...

    def steps(self, splits: Sequence[str], batch_size: int) -> int:
        """The length of an epoch in batches, which schedules divide by."""
        ...

    def stored(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass over a split in its stored order, as it is measured."""
        ...

    def shuffled(
        self, splits: Sequence[str], batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One training epoch; whatever is random in it is a function of (seed, epoch) alone."""
        ...

    def share(self, x: Tensor) -> float:
        """By what the learning rate of this batch is multiplied."""
        ...


class Feed:
    """Turns a data set's numpy batches into pairs of tensors (x [B, *input_shape] float32, y [B] int64)."""

    def __init__(
        self, dataset: Dataset, device: torch.device, augmentation: Augmentation, *, channels_last: bool = False
    ) -> None:
        self._dataset = dataset
        self.device = device
        self._augmentation = augmentation
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        # One number a channel, shaped to broadcast over what lies behind it; a constant channel is left at zero.
        shape = (-1, *[1] * (len(dataset.input_shape) - 1))
        std = [deviation if deviation > 0 else 1.0 for deviation in dataset.std]
        self._mean = torch.tensor(dataset.mean, dtype=torch.float32, device=device).reshape(shape)
        self._std = torch.tensor(std, dtype=torch.float32, device=device).reshape(shape)

    def rows(self, splits: Sequence[str]) -> int:
        """Number of examples of several splits together."""
        return sum(self._dataset.rows(split) for split in splits)

    def steps(self, splits: Sequence[str], batch_size: int) -> int:
        """Batches of an epoch. Of several splits each may end in a short batch, which is not counted for each."""
        return math.ceil(self.rows(splits) / batch_size)

    def share(self, x: Tensor) -> float:
        """1: every batch of images learns at the full rate, short ones too."""
        return 1.0

    def stored(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """A split in its stored order, normalised only."""
        for batch in self._dataset.batches(split, batch_size):
            x, y = self._to_device(batch)
            yield self._normalise(x), y

    def shuffled(
        self, splits: Sequence[str], batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One training epoch; order and augmentation are functions of (seed, epoch) alone."""
        generator = torch.Generator().manual_seed(derive_seed(seed, "augmentation", epoch))
        for batch in _interleaved(self._dataset, splits, batch_size, seed, epoch):
            x, y = self._to_device(batch)
            x = self._augmentation.geometry(x, generator)
            yield self._augmentation.erase(self._normalise(x), generator), y

    def _to_device(self, batch: NumpyBatch) -> tuple[Tensor, Tensor]:
        # torch warns of memory it may not write to (views of Arrow buffers), though nothing here writes.
        x, y = (torch.from_numpy(part if part.flags.writeable else part.copy()) for part in batch)
        if self.device.type == "cuda":
            x, y = x.pin_memory(), y.pin_memory()
        return x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)

    def _normalise(self, x: Tensor) -> Tensor:
        x = x.float().sub(self._mean).div_(self._std)  # never in place: the data set may own x's memory
        return x.contiguous(memory_format=self._format) if x.dim() == 4 else x


def _interleaved(
    dataset: Dataset, splits: Sequence[str], batch_size: int, seed: int, epoch: int
) -> Iterator[NumpyBatch]:
    """The batches of several splits in one seeded order: each row once, and no split trained on last."""
    streams = [dataset.batches(split, batch_size, seed=seed, epoch=epoch) for split in splits]
    if len(streams) == 1:
        yield from streams[0]
        return
    turns = np.repeat(np.arange(len(splits)), [-(-dataset.rows(split) // batch_size) for split in splits])
    np.random.default_rng(derive_seed(seed, "splits", epoch)).shuffle(turns)
    for turn in turns:
        yield next(streams[turn])
    for stream in streams:
        yield from stream  # nothing is left, but only an exhausted stream has checked its number of rows
