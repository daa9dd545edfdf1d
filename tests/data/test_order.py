from __future__ import annotations

import itertools

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from spark_nas.data.order import described, epoch_order, stored_positions

_seeds, _epochs = st.integers(0, 2**31 - 1), st.integers(0, 10_000)


@given(st.integers(1, 200), _seeds, _epochs, st.integers(1, 50))
def test_an_epoch_reads_each_row_group_once(groups: int, seed: int, epoch: int, window: int) -> None:
    assert list(range(groups)) == sorted(epoch_order(groups, seed, epoch, window).row_groups)


@given(st.integers(1, 200), _seeds, _epochs, st.integers(1, 50))
def test_windows_cut_the_row_groups_in_their_order(groups: int, seed: int, epoch: int, window: int) -> None:
    order = epoch_order(groups, seed, epoch, window)
    assert order.row_groups == tuple(itertools.chain.from_iterable(order.windows()))
    assert max(map(len, order.windows())) <= window


@given(st.integers(0, 300), _seeds, _epochs, st.integers(0, 50))
def test_the_rows_of_a_window_are_permuted(rows: int, seed: int, epoch: int, number: int) -> None:
    permutation = epoch_order(3, seed, epoch, 1).permutation(number, rows)
    assert list(range(rows)) == sorted(permutation.tolist())


@given(st.integers(1, 200), _seeds, _epochs, st.integers(1, 50))
def test_the_order_is_a_function_of_seed_and_epoch(groups: int, seed: int, epoch: int, window: int) -> None:
    first, second = (epoch_order(groups, seed, epoch, window) for _ in range(2))
    assert first == second
    assert first.permutation(0, 50).tolist() == second.permutation(0, 50).tolist()


@given(_seeds, _epochs)
def test_another_epoch_or_seed_has_another_order(seed: int, epoch: int) -> None:
    orders = [epoch_order(60, s, e, 8) for s, e in ((seed, epoch), (seed, epoch + 1), (seed + 1, epoch))]
    assert 3 == len({order.row_groups for order in orders})
    assert 3 == len({tuple(order.permutation(0, 60)) for order in orders})


def test_windows_of_one_epoch_are_shuffled_differently() -> None:
    order = epoch_order(60, 1, 0, 8)
    assert 7 == len({tuple(order.permutation(number, 60)) for number in range(7)})


def test_the_window_does_not_change_the_order_of_the_row_groups() -> None:
    assert 1 == len({epoch_order(60, 1, 0, window).row_groups for window in (1, 7, 100)})


def test_every_place_of_an_epoch_is_as_likely_for_each_row() -> None:
    # 2,000 epochs of a window of 4 rows: each of the 16 (row, place) counts is binomial with deviation 19.4.
    places = np.zeros((4, 4), int)
    for epoch in range(2000):
        places[np.arange(4), epoch_order(1, 5, epoch, 4).permutation(0, 4)] += 1
    assert np.abs(places - 500).max() < 5 * 19.4


@given(st.lists(st.integers(1, 20), min_size=1, max_size=10), st.randoms(use_true_random=False))
def test_stored_positions_of_permuted_groups_are_all_rows_group_by_group(sizes: list[int], rng: object) -> None:
    groups = list(range(len(sizes)))
    rng.shuffle(groups)  # type: ignore[attr-defined]
    rows = [list(range(sum(sizes[:g]), sum(sizes[: g + 1]))) for g in groups]
    assert list(itertools.chain.from_iterable(rows)) == stored_positions(groups, sizes).tolist()


def whole_order(sizes: tuple[int, ...], window: int) -> list[int]:
    """The rows of an epoch, as stored, in its order."""
    order = epoch_order(len(sizes), 1, 0, window)
    windows = [stored_positions(groups, sizes) for groups in order.windows()]
    return [row for number, rows in enumerate(windows) for row in rows[order.permutation(number, len(rows))].tolist()]


_cuts = st.sets(st.integers(1, 19), max_size=6).map(lambda cuts: tuple(np.diff([0, *sorted(cuts), 20]).tolist()))


@given(_cuts, _cuts, st.integers(1, 8), st.integers(1, 8))
@example((5, 5, 10), (5, 10, 5), 2, 2)
@example((5, 5, 10), (5, 5, 10), 3, 8)
@example((5, 5, 10), (5, 5, 10), 2, 3)
def test_two_ways_to_cut_and_shuffle_20_rows_are_described_alike_only_if_their_order_is_one(
    one: tuple[int, ...], other: tuple[int, ...], window: int, another: int
) -> None:
    alike = described({"train": one}, window) == described({"train": other}, another)
    assert alike == (one == other and min(window, len(one)) == min(another, len(other)))
    if alike:
        assert whole_order(one, window) == whole_order(other, another)


def test_shards_and_window_change_the_order() -> None:
    assert 3 == len({tuple(whole_order(*how)) for how in (((5,) * 4, 4), ((5,) * 4, 2), ((10,) * 2, 4))})


def test_a_description_says_what_there_is() -> None:
    sizes = {"train": (314, 315, 314), "test": (90, 90)}
    named = {"train": "3 of 314 to 315 rows (", "test": "2 of 90 to 90 rows ("}
    found = described(sizes, 2)
    assert named == {split: text[: len(named[split])] for split, text in found["row_groups"].items()}  # type: ignore[attr-defined]
    assert [2, "all row groups"] == [described(sizes, window)["shuffle_window"] for window in (2, 3)]
