"""Batches hold the rows of the parts in their order, whatever the cuts; a window is mixed by its permutation alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.cutting import Part, cut, shuffled_windows
from spark_nas.data.order import epoch_order, stored_positions
from spark_nas.data.reader import RowGroup

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def rows(first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(first, first + count)
    return np.stack([y, -y], axis=1).astype("<f4"), y


def parts_of(sizes: list[int]) -> Iterator[Part]:
    first = 0
    for size in sizes:
        yield Part(*rows(first, size), None)
        first += size


@given(SIZES, st.integers(1, 40))
def test_rows_keep_their_order_and_only_the_last_batch_is_short(sizes: list[int], batch_size: int) -> None:
    batches = list(cut(parts_of(sizes), sum(sizes), batch_size))
    assert list(range(sum(sizes))) == np.concatenate([y for _, y in batches]).tolist()
    assert {batch_size} >= {len(y) for _, y in batches[:-1]}
    assert 1 <= len(batches[-1][1]) <= batch_size
    for x, y in batches:
        assert np.array_equal(x, np.stack([y, -y], axis=1))
        assert x.flags.writeable
        assert x.flags.c_contiguous
        assert x.flags.owndata


@given(SIZES, st.integers(1, 20), st.integers(1, 5), st.integers(0, 3))
def test_windows_are_the_epochs_order_also_though_they_share_memory(
    sizes: list[int], batch_size: int, window: int, epoch: int
) -> None:
    order = epoch_order(len(sizes), 7, epoch, window)
    starts = np.cumsum([0, *sizes])
    groups = (RowGroup(i, *rows(int(starts[i]), sizes[i])) for i in order.row_groups)
    batches = list(cut(shuffled_windows(groups, tuple(sizes), order), sum(sizes), batch_size))
    windows = [stored_positions(positions, sizes) for positions in order.windows()]
    expected = [w[order.permutation(i, len(w))] for i, w in enumerate(windows)]
    assert np.concatenate(expected).tolist() == np.concatenate([y for _, y in batches]).tolist()
    assert all(np.array_equal(x, np.stack([y, -y], axis=1)) for x, y in batches)


@given(SIZES, st.integers(1, 20))
def test_more_or_fewer_rows_than_announced_are_an_error(sizes: list[int], batch_size: int) -> None:
    for wrong in (sum(sizes) - 1, sum(sizes) + 1):
        with pytest.raises(ValueError, match="rows"):
            list(cut(parts_of(sizes), wrong, batch_size))
