"""Batches of a running text, for networks that carry their state from one batch to the next.

A text of N tokens is cut into B columns of N // B tokens that are read side by side, and what is left over is dropped;
a batch is a window of some rows of all columns, and its targets are the tokens that come next (`batchify` and
`get_batch` of the released AWD-LSTM; Merity et al. 2018, section 5). So row b of a batch goes on where row b of the
batch before has ended.

Nothing is shuffled, as that would tear the text. What training may vary is where the windows are cut: with *variable*
windows (section 4.1 there) a token is not always at the same place of one, so that all learn to carry something to the
next. A window has then max(5, N(b, 5)) tokens, where b is bptt, or with probability 0.05 half of it, and at most
bptt + 20 (as in the DARTS release: what bounds the memory), and its learning rate is scaled by its length / bptt.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Protocol, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spark_nas.errors import DataError
from spark_nas.search.protocols import Dataset
from spark_nas.search.records import derive_seed

_FULL = 0.95
"""Probability of a window around bptt and not around half of it."""
_DEVIATION, _SHORTEST, _LONGER = 5.0, 5, 20
"""Of a variable window's length, in tokens: its standard deviation, its least, and its most above bptt."""


class TokenDataset(Protocol):
    """A prepared text: each split is one stream of tokens."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(): one token."""
        ...

    @property
    def classes(self) -> int:
        """Number of different tokens."""
        ...

    def rows(self, split: str) -> int:
        """Number of tokens of a split. Raises DataError for an unknown split, naming those there are."""
        ...

    def tokens(self, split: str) -> NDArray[np.int32]:
        """All tokens of a split in order, [rows], each in 0..classes-1; read-only. Raises DataError as `batches`."""
        ...


def is_text(dataset: Dataset | TokenDataset) -> TypeGuard[TokenDataset]:
    """Whether a data set is a running text: then its examples are single tokens, without a shape."""
    return dataset.input_shape == ()


class TextFeed:
    """Turns a text into pairs (x [T, B] int64, y [T * B] int64): tokens, and for each, time first, the next one.

    Args:
        dataset: the text.
        device: where the tensors shall be.
        bptt: tokens of a window, which is how far the gradient is propagated back.
        variable: whether the windows of a training epoch vary in length.
    """

    def __init__(self, dataset: TokenDataset, device: torch.device, bptt: int = 35, variable: bool = False) -> None:
        if bptt < 1:
            raise ValueError(f"bptt must be at least 1, got {bptt}")
        self._dataset = dataset
        self.device = device
        self.bptt = bptt
        self.variable = variable

    def rows(self, splits: Sequence[str]) -> int:
        """Number of tokens of several splits together."""
        return sum(self._dataset.rows(split) for split in splits)

    def steps(self, splits: Sequence[str], batch_size: int) -> int:
        """Windows of an epoch when all have `bptt` tokens; of variable ones there are some 4 % more."""
        return math.ceil((self._length(splits, batch_size) - 1) / self.bptt)

    def share(self, x: Tensor) -> float:
        """Length of the window / bptt: a short one gives as much of a push to the weights per token as a long one."""
        return len(x) / self.bptt

    def stored(self, split: str, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Fixed windows: each token of the columns is a target once, but for the first of each column.

        Raises DataError when the text is too short for so many columns.
        """
        return self._windows(self._columns((split,), batch_size), repeat(self.bptt))

    def shuffled(
        self, splits: Sequence[str], batch_size: int, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One training epoch over the splits, joined into one text in this order; every target comes once.

        The lengths of variable windows are a function of (seed, epoch), and else of bptt, alone.

        Raises DataError when the text is too short for so many columns.
        """
        lengths = self._lengths(seed, epoch) if self.variable else repeat(self.bptt)
        return self._windows(self._columns(splits, batch_size), lengths)

    def _length(self, splits: Sequence[str], batch_size: int) -> int:
        """Tokens of a column."""
        rows = self.rows(splits)
        if rows < 2 * batch_size:
            raise DataError(
                f"split {'+'.join(splits)!r} has {rows} tokens, too few for {batch_size} columns of at least 2: choose "
                f"a batch size (evaluation_batch_size where it is only measured) of at most {rows // 2}"
            )
        return rows // batch_size

    def _columns(self, splits: Sequence[str], batch_size: int) -> NDArray[np.int32]:
        length = self._length(splits, batch_size)
        streams = [self._dataset.tokens(split) for split in splits]
        tokens = streams[0] if len(streams) == 1 else np.concatenate(streams)
        return tokens[: length * batch_size].reshape(batch_size, length).T

    def _lengths(self, seed: int, epoch: int) -> Iterator[int]:
        """Lengths of the windows of an epoch, without end."""
        rng = np.random.default_rng(derive_seed(seed, "windows", epoch))
        while True:
            mean = self.bptt if rng.random() < _FULL else self.bptt / 2
            yield min(max(_SHORTEST, int(rng.normal(mean, _DEVIATION))), self.bptt + _LONGER)

    def _windows(self, columns_LB: NDArray[np.int32], lengths: Iterator[int]) -> Iterator[tuple[Tensor, Tensor]]:
        start, last = 0, len(columns_LB) - 1
        while start < last:
            stop = min(start + next(lengths), last)
            yield self._tensor(columns_LB[start:stop]), self._tensor(columns_LB[start + 1 : stop + 1]).reshape(-1)
            start = stop

    def _tensor(self, part_TB: NDArray[np.int32]) -> Tensor:
        return torch.from_numpy(part_TB.astype(np.int64, order="C")).to(self.device)
