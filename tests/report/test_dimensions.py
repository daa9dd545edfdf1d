"""The axes of parallel coordinates."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from spark_nas.report.dimensions import OFF, dimension, of_trials
from spark_nas.report.view import RunView


def test_a_constant_has_no_axis():
    assert dimension("x", [3, 3, 3]) is None


@pytest.mark.parametrize("log", [None, True])
def test_whole_and_broken_numbers_that_are_equal_are_two_categories(log: bool | None):
    axis = dimension("x", [1, 1.0, 1], log=log)
    assert axis is not None
    assert ["1", "1.0"] == sorted(words for _, words in axis.ticks)


def test_equal_ratios_are_equal_distances_on_a_logarithmic_axis():
    axis = dimension("lr", [1e-4, 1e-3, 1e-2, 1e-1])
    assert axis is not None
    assert [0, 1 / 3, 2 / 3, 1] == pytest.approx(axis.places)
    assert ["1e-4", "0.001", "0.01", "0.1"] == [words for _, words in axis.ticks]


def test_inactive_values_stand_below_the_axis():
    axis = dimension("momentum", [0.5, None, 0.9])
    assert axis is not None
    assert (OFF, "inactive") == (axis.places[1], axis.label(1))


def test_an_axis_where_only_presence_varies_is_drawn():
    assert dimension("momentum", [0.9, None]) is not None


def test_categories_keep_apart_when_fanned_out():
    axis = dimension("op", ["a", "b", "c", "b", "a"])
    assert axis is not None
    places = sorted(zip(axis.places, ["a", "b", "c", "b", "a"], strict=True))
    assert ["a", "a", "b", "b", "c"] == [name for _, name in places]


def test_few_whole_numbers_are_categories_in_numeric_order():
    axis = dimension("batch", [128, 32, 64])
    assert axis is not None
    assert ["32", "64", "128"] == [words for _, words in axis.ticks]


def test_too_many_axes_leave_out_and_name_those_least_related_to_the_loss(make_run: Callable[..., RunView]):
    view = make_run(100, choices=True)
    shown, left_out = of_trials(view, 5)
    everything, nothing = of_trials(view, 99)
    assert (5, 0) == (len(shown), len(nothing))
    assert {entry.name for entry in everything} == {entry.name for entry in shown} | set(left_out)
