"""Brackets as the papers print them, and as exact arithmetic has them where they print none."""

from __future__ import annotations

import pytest

from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.brackets import Bracket, Mode, Rounding, halvings, hyperband_brackets
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving


def table(brackets: tuple[Bracket, ...]) -> dict[int, list[tuple[int, int]]]:
    return {bracket.s: list(zip(bracket.sizes, bracket.resources, strict=True)) for bracket in brackets}


R81 = {
    "pseudocode": {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        3: [(34, 3), (11, 9), (3, 27), (1, 81)],
        2: [(15, 9), (5, 27), (1, 81)],
        1: [(8, 27), (2, 81)],
        0: [(5, 81)],
    },
    "jmlr_table": {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        3: [(27, 3), (9, 9), (3, 27), (1, 81)],
        2: [(9, 9), (3, 27), (1, 81)],
        1: [(6, 27), (2, 81)],
        0: [(5, 81)],
    },
}


@pytest.mark.parametrize("rounding", R81)
def test_hyperband_of_81(rounding: Rounding):
    assert table(Hyperband(81, 3, rounding=rounding).plan()) == R81[rounding]


@pytest.mark.parametrize(
    ("rounding", "restarted"),
    [("pseudocode", [405, 363, 351, 378, 405]), ("jmlr_table", [405, 324, 243, 324, 405])],
)
def test_what_the_brackets_of_81_cost_when_each_rung_trains_from_scratch(rounding: Rounding, restarted: list[int]):
    brackets = Hyperband(81, 3, rounding).plan()
    assert [sum(n * r for n, r in zip(b.sizes, b.resources, strict=True)) for b in brackets] == restarted


def test_what_the_brackets_of_81_cost_with_checkpoints():
    assert [bracket.resource_resumed for bracket in Hyperband(81, 3).plan()] == [297, 276, 279, 324, 405]


def test_hyperband_of_27():
    assert table(Hyperband(27, 3).plan()) == {
        3: [(27, 1), (9, 3), (3, 9), (1, 27)],
        2: [(12, 3), (4, 9), (1, 27)],
        1: [(6, 9), (2, 27)],
        0: [(4, 27)],
    }


@pytest.mark.parametrize(
    ("max_resource", "eta", "rounding", "brackets"),
    [
        (
            243,
            3,
            "pseudocode",
            {
                5: [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)],
                4: [(98, 3), (32, 9), (10, 27), (3, 81), (1, 243)],
                3: [(41, 9), (13, 27), (4, 81), (1, 243)],
                2: [(18, 27), (6, 81), (2, 243)],
                1: [(9, 81), (3, 243)],
                0: [(6, 243)],
            },
        ),
        (
            243,
            3,
            "jmlr_table",
            {
                5: [(243, 1), (81, 3), (27, 9), (9, 27), (3, 81), (1, 243)],
                4: [(81, 3), (27, 9), (9, 27), (3, 81), (1, 243)],
                3: [(27, 9), (9, 27), (3, 81), (1, 243)],
                2: [(18, 27), (6, 81), (2, 243)],
                1: [(9, 81), (3, 243)],
                0: [(6, 243)],
            },
        ),
        (
            1000,
            10,
            "pseudocode",
            {
                3: [(1000, 1), (100, 10), (10, 100), (1, 1000)],
                2: [(134, 10), (13, 100), (1, 1000)],
                1: [(20, 100), (2, 1000)],
                0: [(4, 1000)],
            },
        ),
        (
            1000,
            10,
            "jmlr_table",
            {
                3: [(1000, 1), (100, 10), (10, 100), (1, 1000)],
                2: [(100, 10), (10, 100), (1, 1000)],
                1: [(20, 100), (2, 1000)],
                0: [(4, 1000)],
            },
        ),
        (
            300,
            4,
            "pseudocode",
            {
                4: [(256, 1), (64, 4), (16, 18), (4, 75), (1, 300)],
                3: [(80, 4), (20, 18), (5, 75), (1, 300)],
                2: [(27, 18), (6, 75), (1, 300)],
                1: [(10, 75), (2, 300)],
                0: [(5, 300)],
            },
        ),
        (
            300,
            4,
            "jmlr_table",
            {
                4: [(256, 1), (64, 4), (16, 18), (4, 75), (1, 300)],
                3: [(64, 4), (16, 18), (4, 75), (1, 300)],
                2: [(16, 18), (4, 75), (1, 300)],
                1: [(8, 75), (2, 300)],
                0: [(5, 300)],
            },
        ),
        (
            256,
            4,
            "pseudocode",
            {
                4: [(256, 1), (64, 4), (16, 16), (4, 64), (1, 256)],
                3: [(80, 4), (20, 16), (5, 64), (1, 256)],
                2: [(27, 16), (6, 64), (1, 256)],
                1: [(10, 64), (2, 256)],
                0: [(5, 256)],
            },
        ),
        (
            256,
            4,
            "jmlr_table",
            {
                4: [(256, 1), (64, 4), (16, 16), (4, 64), (1, 256)],
                3: [(64, 4), (16, 16), (4, 64), (1, 256)],
                2: [(16, 16), (4, 64), (1, 256)],
                1: [(8, 64), (2, 256)],
                0: [(5, 256)],
            },
        ),
    ],
)
def test_hyperband_where_its_formulas_are_worked_out_by_hand(
    max_resource: int, eta: int, rounding: Rounding, brackets: dict[int, list[tuple[int, int]]]
):
    assert table(Hyperband(max_resource, eta, rounding=rounding).plan()) == brackets


@pytest.mark.parametrize(("max_resource", "eta", "brackets"), [(243, 3, 6), (1000, 10, 4), (300, 4, 5), (1, 3, 1)])
def test_the_number_of_brackets_is_exact_where_a_logarithm_in_doubles_is_not(
    max_resource: int, eta: int, brackets: int
):
    assert len(hyperband_brackets(max_resource, eta)) == brackets


def test_resources_of_300_by_4_are_rounded_down_from_the_top():
    (plan,) = SuccessiveHalving(256, 1, 300, 4).plan()
    assert plan.resources == (1, 4, 18, 75, 300)


def test_a_finer_unit_keeps_the_fractions_of_300_by_4():
    (plan,) = SuccessiveHalving(256, 1_000_000, 300_000_000, 4).plan()
    assert plan.resources == (1_171_875, 4_687_500, 18_750_000, 75_000_000, 300_000_000)


def test_successive_halving_leaves_out_the_lowest_rungs_by_its_early_stopping_rate():
    assert table(SuccessiveHalving(27, 1, 81, 3, early_stopping_rate=1).plan()) == {
        3: [(27, 3), (9, 9), (3, 27), (1, 81)]
    }


@pytest.mark.parametrize(
    ("max_resource", "trials", "mode", "rungs", "shares"),
    [
        (200, 128, "standard", (4, 3, 2), (89, 29, 10)),
        (200, 104, "standard", (4, 3, 2), (73, 23, 8)),
        (200, 28, "standard", (3, 2), (21, 7)),
        (200, 36, "standard", (3, 2), (27, 9)),
        (200, 16, "standard", (3, 2), (12, 4)),
        (1024, 500, "standard", (5, 4, 3), (354, 110, 36)),
        (1024, 500, "conservative", (5, 4, 3, 2, 1), (341, 105, 35, 13, 6)),
    ],
)
def test_adaptive_brackets_are_those_of_determined(
    max_resource: int, trials: int, mode: Mode, rungs: tuple[int, ...], shares: tuple[int, ...]
):
    options = AsynchronousHyperband(max_resource=max_resource, eta=4, trials=trials, mode=mode, max_rungs=5)
    assert options.rungs() == rungs
    assert tuple(bracket.sizes[0] for bracket in options.plan()) == shares


def test_adaptive_resources_are_those_of_determined():
    plan = AsynchronousHyperband(max_resource=200, eta=4, trials=128, mode="standard", max_rungs=5).plan()
    assert [bracket.resources for bracket in plan] == [(3, 12, 50, 200), (12, 50, 200), (50, 200)]


def test_halvings_count_whole_powers():
    assert [halvings(1, resource, 3) for resource in (1, 2, 3, 8, 9, 242, 243)] == [0, 0, 1, 1, 2, 4, 5]
