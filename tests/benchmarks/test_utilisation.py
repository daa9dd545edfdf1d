"""The simulated cluster of benchmarks/utilisation.py: who keeps workers busy, and that it grows with their number."""

from __future__ import annotations

import pytest

from benchmarks.utilisation import METHODS, simulated


def test_an_endless_asha_never_lets_a_worker_wait():
    assert simulated("ASHA", 25)["idle"] == pytest.approx(0, abs=1e-6)


def test_waiting_for_a_round_leaves_workers_idle_and_opening_the_next_bracket_does_not():
    waiting = simulated("SHA, n = 4 a worker, one bracket at a time", 25)
    opening = simulated("SHA, n = 256, idle workers open brackets", 25)
    assert waiting["idle"] > 0.5
    assert opening["idle"] == pytest.approx(0, abs=1e-6)
    assert opening["full"] > waiting["full"]


def test_the_share_of_lost_time_is_that_of_the_drops():
    assert 0 == simulated("ASHA", 25, drop=0.0)["lost"]
    assert 0.002 < simulated("ASHA", 25)["lost"] < 0.03


def test_a_search_that_ends_has_an_idle_tail():
    assert 0 < simulated("ASHA to its end, 100 trials a worker", 10)["idle"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if "one bracket" not in name])
def test_fully_trained_configurations_grow_with_the_workers(method: str):
    few, many = simulated(method, 25)["full"], simulated(method, 100)["full"]
    assert many == pytest.approx(4 * few, rel=0.2)
