from __future__ import annotations

import dataclasses

from spark_nas.tracking.tracked import Incumbent, instant, measurements, parameters
from tests.tracking.results import BEGAN, result, tracked


def test_a_search_is_itself_wherever_it_is_continued_and_another_when_it_is_begun_anew():
    assert tracked().identity == tracked().identity
    others = {tracked("/elsewhere/first").identity, tracked(created_at="later").identity, tracked().identity}
    assert 3 == len(others)


def test_parameters_are_recipe_and_architecture():
    expected = {"bracket": 2, "seed": 3, "recipe.learning_rate": 0.5, "architecture.edge 0": "skip"}
    assert expected == parameters(result().job.trial)


def test_each_measurement_comes_once_at_its_resource():
    found = list(measurements(result(rung=1, resource=3)))
    assert {
        ("loss", 2): 0.5,
        ("loss", 3): 1 / 3,
        ("accuracy", 2): 0.2,
        ("accuracy", 3): 0.1 * 3,
        ("parameters", 3): 12.0,
        ("seconds", 3): 2.5,
    } == {(name, step): value for name, value, step in found}
    assert 6 == len(found)


def test_without_a_curve_there_is_the_loss_and_a_failed_job_has_none():
    bare = dataclasses.replace(result(), curve=())
    assert ("loss", 1.0, 1) in list(measurements(bare))
    failed = dataclasses.replace(result(error="boom"), curve=())
    assert [("seconds", 2.5, 1)] == list(measurements(failed))


def test_the_incumbent_is_the_best_at_the_highest_resource():
    incumbent = Incumbent()
    told = [
        incumbent.told(r)
        for r in (result(3), result(1), result(2), result(0, error="boom"), result(2, 1, 3), result(1, 1, 3))
    ]
    now = instant(result())
    first, second, third, last = (4.0, 1, now), (2.0, 2, now), (1 / 3 + 2, 5, now), (1 / 3 + 1, 6, now)
    assert [first, second, None, None, third, last] == told


def test_an_instant_is_when_the_job_ended():
    assert BEGAN.timestamp() + 2.5 == instant(result())
