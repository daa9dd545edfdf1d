"""Splits are disjoint, complete, stratified and a function of the seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.order import epoch_order, stored_positions
from spark_nas.data.sources import Arrays, Digits, Raw
from spark_nas.data.splitting import carve, plan_splits
from spark_nas.errors import DataError


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.floats(0, 1), st.integers(1, 9))
def test_carving_draws_the_count_without_repeats_and_each_class_within_one_row_of_its_share(
    labels: list[int], fraction: float, seed: int
):
    y = np.array(labels)
    count = round(fraction * len(y))
    drawn = carve(y, np.arange(len(y)), count, seed)
    assert len(set(drawn.tolist())) == len(drawn) == count
    for label in np.unique(y):
        assert abs((y[drawn] == label).sum() - count * (y == label).mean()) < 1


def test_splits_without_a_source_test_partition_the_rows():
    plan = plan_splits(Digits().read(), 1, 0.1, 0.2)
    rows = np.concatenate([rows for _, rows in plan.splits.values()])
    assert sorted(rows.tolist()) == list(range(1797))
    assert {split: len(rows) for split, (_, rows) in plan.splits.items()} == {"train": 1258, "valid": 180, "test": 359}


def test_splits_differ_by_seed_and_only_by_seed():
    raw = Digits().read()
    first, again, other = (plan_splits(raw, seed, 0.1, 0.2).splits["valid"][1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert set(first.tolist()) != set(other.tolist())


def test_the_sources_own_test_split_is_kept_whole():
    x, y = np.zeros((40, 2), np.float32), np.arange(40) % 2
    raw = Raw("n", "w", "d", ("a", "b"), {"train": Arrays(x, y), "test": Arrays(x[:6], y[:6])})
    plan = plan_splits(raw, 3, 0.25, 0.5)
    assert {split: len(rows) for split, (_, rows) in plan.splits.items()} == {"train": 30, "valid": 10, "test": 6}
    assert plan.splits["test"][0] is raw.splits["test"]
    assert "test: the source's own; valid: 10 rows" in plan.rule


@pytest.mark.parametrize(
    ("valid", "test"),
    [(0.0, 0.2), (0.1, 0.0), (0.9, 0.2), (1.5, 0.2), (-0.1, 0.2), (math.nan, 0.2), (0.1, math.nan), (math.inf, 0.2)],
)
def test_a_fraction_that_leaves_a_split_empty_is_an_error(valid: float, test: float):
    with pytest.raises(DataError, match=r"split '(valid|test)' would get"):
        plan_splits(Digits().read(), 1, valid, test)


def test_an_epochs_order_is_a_permutation_that_depends_on_seed_and_epoch():
    orders = {epoch_order(50, seed, epoch, 4).row_groups for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_windows_cover_the_row_groups_in_order():
    order = epoch_order(10, 1, 0, 4)
    assert [len(window) for window in order.windows()] == [4, 4, 2]
    assert sum(order.windows(), ()) == order.row_groups


def test_stored_positions_follow_the_row_groups_sizes():
    assert stored_positions((2, 0), (2, 3, 1)).tolist() == [5, 0, 1]
