"""The order of an epoch: a function of (seed, epoch), the row groups' sizes and the shuffle window alone.

Two levels, so that a data set larger than memory can be shuffled while it streams: the row groups are permuted, and the
rows are permuted within windows of consecutive row groups of that order. `prepare` has shuffled all rows when it wrote
them, so even a small window mixes the classes. A data set of at most `window` row groups gets a full uniform shuffle.
What the seed does not say is part of a run's identity (`described`): the number of shards cuts the row groups, so a run
is not continued on the same examples in other shards, or with another window.
The row groups' permutation is that of petastorm's ventilator under the same seed (`numpy.random.RandomState.shuffle`,
a stream that numpy has frozen), so that a streaming reader delivers them in this very order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_nas.search.records import derive_seed


@dataclass(frozen=True)
class EpochOrder:
    """The order of one epoch of one split."""

    seed: int
    """The epoch's own seed; what petastorm shuffles the row groups with."""
    row_groups: tuple[int, ...]
    """Positions of the row groups, in the order they are read."""
    window: int
    """Row groups whose rows are shuffled together."""

    def windows(self) -> Iterator[tuple[int, ...]]:
        """The row groups of each window."""
        for start in range(0, len(self.row_groups), self.window):
            yield self.row_groups[start : start + self.window]

    def permutation(self, window: int, rows: int) -> NDArray[np.int64]:
        """The order of the `rows` rows of window number `window`."""
        return np.random.default_rng(derive_seed("rows", self.seed, window)).permutation(rows)


def epoch_order(row_groups: int, seed: int, epoch: int, window: int) -> EpochOrder:
    """The order of epoch `epoch` of a split of `row_groups` row groups."""
    epoch_seed = derive_seed("order", seed, epoch)
    shuffled = list(range(row_groups))
    np.random.RandomState(epoch_seed).shuffle(shuffled)
    return EpochOrder(epoch_seed, tuple(shuffled), window)


def stored_positions(groups: Sequence[int], sizes: Sequence[int]) -> NDArray[np.int64]:
    """Stored positions of the rows of `groups`, in that order; `sizes` are the rows of every row group of the split."""
    ends = np.cumsum(sizes)
    return np.concatenate([np.arange(ends[group] - sizes[group], ends[group], dtype=np.int64) for group in groups])


def described(row_groups: Mapping[str, tuple[int, ...]], window: int) -> dict[str, object]:
    """What orders the epochs of these splits beside seed and epoch: equal for two data sets only when the order is.

    As JSON that a message can show. A window that holds all row groups of each split is as good as any larger one.
    """
    sizes = {
        split: f"{len(rows)} of {min(rows)} to {max(rows)} rows ({hashlib.sha256(repr(rows).encode()).hexdigest()[:8]})"
        for split, rows in row_groups.items()
    }
    most = max(map(len, row_groups.values()))
    return {"row_groups": sizes, "shuffle_window": window if window < most else "all row groups"}
