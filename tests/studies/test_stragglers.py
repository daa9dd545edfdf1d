"""ASHA against successive halving on 25 simulated workers that straggle and vanish (benchmarks/stragglers.py).

A simulation. The reference numbers come from two independent simulators of the same protocol, 25 seeds a cell; the
whole table with all seeds is printed by the benchmark. Here: the cells of three rows and columns, few seeds, of which
`make test` takes the four corners.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest

from benchmarks.stragglers import Method, Summary, study

STDS, DROPS, SEEDS = (0.0, 0.24, 1.33), (0.0, 0.002, 0.01), 3
REFERENCE: dict[tuple[Method, float, float], float] = {
    ("sha", 0.0, 0.0): 43.0,
    ("sha", 0.0, 0.002): 40.2,
    ("sha", 0.0, 0.01): 25.1,
    ("sha", 0.24, 0.0): 35.5,
    ("sha", 0.24, 0.002): 32.0,
    ("sha", 0.24, 0.01): 16.3,
    ("sha", 1.33, 0.0): 18.0,
    ("sha", 1.33, 0.002): 15.0,
    ("sha", 1.33, 0.01): 4.5,
    ("asha", 0.0, 0.0): 55.1,
    ("asha", 0.0, 0.002): 50.7,
    ("asha", 0.0, 0.01): 31.3,
    ("asha", 0.24, 0.0): 45.5,
    ("asha", 0.24, 0.002): 41.9,
    ("asha", 0.24, 0.01): 23.8,
    ("asha", 1.33, 0.0): 25.3,
    ("asha", 1.33, 0.002): 20.3,
    ("asha", 1.33, 0.01): 7.2,
}
"""Mean number of configurations trained to R."""

CORNERS = (STDS[0], STDS[-1]), (DROPS[0], DROPS[-1])
Table = Callable[[Method, float, float], Summary]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def table() -> Table:
    """What a cell came to; simulated when somebody asks."""

    @cache
    def both(std: float, drop: float) -> dict[tuple[Method, float, float], Summary]:
        return study([std], [drop], SEEDS)

    return lambda method, std, drop: both(std, drop)[method, std, drop]


def marks(std: float, drop: float) -> list[pytest.MarkDecorator]:
    return [] if std in CORNERS[0] and drop in CORNERS[1] else [pytest.mark.exhaustive]


@pytest.mark.parametrize(
    ("std", "drop"), [pytest.param(std, drop, marks=marks(std, drop)) for std in STDS for drop in DROPS]
)
def test_asha_trains_more_configurations_to_the_end_and_its_first_one_no_later(std: float, drop: float, table: Table):
    asha, sha = table("asha", std, drop), table("sha", std, drop)
    assert asha.full > sha.full
    # Strictly earlier in every cell with 25 seeds; a first time varies too much for that with this few.
    assert asha.first <= sha.first + 2 * math.hypot(asha.first_error, sha.first_error)


@pytest.mark.parametrize(
    ("stds", "drops"),
    [pytest.param(*CORNERS, id="corners"), pytest.param(STDS, DROPS, marks=pytest.mark.exhaustive, id="all")],
)
@pytest.mark.parametrize("method", ["sha", "asha"])
def test_stragglers_and_drops_never_help(
    method: Method, stds: tuple[float, ...], drops: tuple[float, ...], table: Table
):
    rows = [[table(method, std, drop) for drop in drops] for std in stds]
    columns = [list(column) for column in zip(*rows, strict=True)]
    for line in rows + columns:
        for better, worse in pairwise(line):
            assert worse.full <= better.full + 2 * math.hypot(better.full_error, worse.full_error)


@pytest.mark.parametrize("cell", [pytest.param(cell, marks=marks(*cell[1:])) for cell in REFERENCE])
def test_means_are_near_those_of_the_independent_simulators(cell: tuple[Method, float, float], table: Table):
    # Wider than 10 %, by three standard errors of so few seeds. With 25 seeds most cells, not all, are within 10 %:
    # benchmarks/README.md names the others.
    expected = REFERENCE[cell]
    actual = table(*cell)
    assert expected == pytest.approx(actual.full, abs=0.1 * expected + 3 * actual.full_error)
