"""Cutting an epoch into batches: every row is copied once into a window, where rows are mixed, and once into its batch.

Cached and streamed epochs are cut by the same function, so that they are the same batches bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.order import EpochOrder
from spark_nas.data.reader import RowGroup

Batch = tuple[NDArray[np.generic], NDArray[np.int64]]


class Part(NamedTuple):
    """Rows that follow one another in the epoch."""

    x: NDArray[np.generic]
    """[n, *input_shape]."""
    y: NDArray[np.int64]
    """[n]."""
    order: NDArray[np.int64] | None
    """Which of the n rows come, in this order; None: all as they stand."""

    @property
    def rows(self) -> int:
        """How many rows come."""
        return len(self.y if self.order is None else self.order)


def cut(parts: Iterable[Part], rows: int, batch_size: int) -> Iterator[Batch]:
    """Batches of `batch_size` rows, the last one maybe shorter: fresh arrays, the caller's own.

    Args:
        parts: together `rows` rows; a part may change as soon as the next one is asked for.
        rows: of all parts.
        batch_size: at least 1.

    Raises:
        ValueError: the parts hold more or fewer rows.
    """
    left = rows
    x = y = np.empty(0, np.int64)
    filled = 0
    for part in parts:
        if part.rows > left - filled:
            raise ValueError(f"more than {rows} rows")
        start = 0
        while start < part.rows:
            if not filled:
                size = min(batch_size, left)
                x, y = np.empty((size, *part.x.shape[1:]), part.x.dtype.newbyteorder("=")), np.empty(size, np.int64)
            stop = min(part.rows, start + len(y) - filled)
            _copy(part, slice(start, stop), x[filled : filled + stop - start], y[filled : filled + stop - start])
            filled += stop - start
            start = stop
            if filled == len(y):
                yield x, y
                left -= filled
                filled = 0
    if left:
        raise ValueError(f"{rows - left + filled} of {rows} rows")


def _copy(part: Part, rows: slice, x: NDArray[np.generic], y: NDArray[np.int64]) -> None:
    if part.order is None:
        x[:], y[:] = part.x[rows], part.y[rows]
    else:
        # Any other mode than "raise" writes straight into `out`; a permutation has nothing to clip.
        np.take(part.x, part.order[rows], axis=0, out=x, mode="clip")
        np.take(part.y, part.order[rows], axis=0, out=y, mode="clip")


def shuffled_windows(groups: Iterator[RowGroup], sizes: tuple[int, ...], order: EpochOrder) -> Iterator[Part]:
    """Each window of row groups as one part, its rows in the epoch's order. One window is held, in the same memory.

    Args:
        groups: every row group once, in the epoch's order.
        sizes: rows of every row group of the split, in stored order.
        order: the epoch's.
    """
    most = max(sum(sizes[position] for position in window) for window in order.windows())
    x = y = np.empty(0, np.int64)
    for number, window in enumerate(order.windows()):
        filled = 0
        for group in islice(groups, len(window)):
            if not len(y):
                x, y = np.empty((most, *group.x.shape[1:]), group.x.dtype.newbyteorder("=")), np.empty(most, np.int64)
            x[filled : filled + len(group.y)], y[filled : filled + len(group.y)] = group.x, group.y
            filled += len(group.y)
        yield Part(x[:filled], y[:filled], order.permutation(number, filled))
