"""ASHA on up to 500 simulated workers: eta = 4, r = 1, R = 64, for 6 time(R) (Li et al., MLSys 2020, section 4.3).

A simulation. The reference numbers come from an independent simulator of the same protocol.
"""

from __future__ import annotations

import time

import pytest

from benchmarks.stragglers import Outcome, many_workers_run


@pytest.fixture(scope="module")
def timed() -> tuple[Outcome, float]:
    """500 workers without stragglers, and the processor seconds that took."""
    began = time.process_time()
    outcome = many_workers_run(500, 0, 0, 1)
    return outcome, time.process_time() - began


@pytest.fixture(scope="module")
def ideal(timed: tuple[Outcome, float]) -> Outcome:
    """500 workers without stragglers."""
    return timed[0]


@pytest.mark.slow
def test_the_first_full_model_comes_after_the_time_of_one_training(ideal: Outcome):
    assert ideal.first == 64


@pytest.mark.slow
def test_six_training_times_give_the_known_number_of_full_models(ideal: Outcome):
    # 859 with a spread of 23 between seeds.
    assert ideal.full == pytest.approx(859, abs=3 * 23)
    assert ideal.rungs == pytest.approx((59_000, 15_000, 3_700, 840), rel=0.1)


@pytest.mark.slow
def test_that_takes_79_000_decisions(ideal: Outcome):
    assert ideal.asked == pytest.approx(79_000, rel=0.05)


@pytest.mark.slow
def test_the_whole_simulation_takes_less_than_20_processor_seconds(timed: tuple[Outcome, float]):
    # A bound that a scheduler misses whose decisions look at a whole rung; `benchmarks/utilisation.py` prints the time.
    assert timed[1] < 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("std", "drop", "full", "first"),
    [
        pytest.param(0.24, 0.0, 693, 67.4, marks=pytest.mark.exhaustive),
        (0.56, 0.001, 541, 69.7),
        pytest.param(1.33, 0.005, 318, 82.3, marks=pytest.mark.exhaustive),
    ],
)
def test_stragglers_slow_500_workers_as_known(std: float, drop: float, full: int, first: float):
    outcome = many_workers_run(500, std, drop, 1)
    assert full == pytest.approx(outcome.full, rel=0.1)
    assert first == pytest.approx(outcome.first, rel=0.1)


@pytest.mark.slow
def test_full_models_grow_with_the_workers():
    outcomes = {workers: many_workers_run(workers, 0.24, 0.001, 1).full for workers in (25, 50, 100, 200)}
    rates = [full / workers for workers, full in outcomes.items()]
    assert all(1.2 < rate < 1.8 for rate in rates)
    assert list(outcomes.values()) == sorted(outcomes.values())
