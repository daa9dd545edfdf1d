"""The composition root, of one-shot searches: what belongs together, and what is refused before any job."""

from __future__ import annotations

import re
from typing import Any

import pytest

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.data.dataset import ShardedData
from spark_nas.errors import ConfigError
from tests.evaluation.training_support import Digits

ONE_SHOT: dict[str, Any] = {
    "space": "nas_bench_201",
    "scheduler": {"name": "one_shot", "supernets": {"name": "full_training", "trials": 2, "max_resource": 4}},
    "evaluator": "training",
    "method": "darts",
}


def experiment(**changed: object):
    return parse_experiment({**ONE_SHOT, **changed}, "file")


def refusal(**changed: object) -> str:
    with pytest.raises(ConfigError) as caught:
        experiment(**changed)
    return str(caught.value)


def test_a_one_shot_search_needs_a_method_and_a_method_a_one_shot_search():
    assert "method: None: scheduler one_shot trains supernets: say by which method" in refusal(method=None)
    lonely = {"name": "full_training", "trials": 2, "max_resource": 4}
    assert "method: 'darts': searches the open choices of supernets: use scheduler one_shot" in refusal(
        scheduler=lonely
    )


def test_a_nested_scheduler_is_checked_where_it_stands():
    wrong = {"name": "one_shot", "supernets": {"name": "full_trainin"}}
    known = "unknown scheduler; did you mean 'full_training'?"
    assert f"scheduler.supernets.name: 'full_trainin': {known}" in refusal(scheduler=wrong)
    wrong = {"name": "one_shot", "supernets": {"name": "full_training", "trials": 2, "max_resource": "x"}}
    assert "scheduler.supernets.max_resource: 'x': must be a whole number" in refusal(
        **{**ONE_SHOT, "scheduler": wrong}
    )


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digits in memory, whatever the section `data` says."""
    monkeypatch.setattr(ShardedData, "build", lambda self, storage=None: Digits())


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"evaluator": "synthetic"}, "evaluator.name: 'synthetic': trains no supernet: use training"),
        ({"space": "wide_resnet"}, "'wide_resnet': "),
        (
            {"method": "random_sharing", "scheduler": {**ONE_SHOT["scheduler"], "candidates": 0}},
            "scheduler.candidates: 0: random_sharing derives nothing itself: give candidates",
        ),
        (
            {"method": {"name": "darts", "order": 2}, "evaluator": {"name": "training", "optimizer": "adam"}},
            "method.order: 2: looks one step of SGD ahead, not of adam: use optimizer: sgd",
        ),
    ],
)
def test_what_cannot_be_searched_is_refused_before_any_job(changed: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        assemble(experiment(data={"path": "x"}, **changed))


@pytest.mark.parametrize("place", ["scheduler.retrain_recipe", "retrain.recipe"])
@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"chanels": 36}, "chanels: 36: neither the space nor the training has it: did you mean 'channels'?"),
        ({"channels": 0}, "channels: 0: "),
        ({"drop_path": 2.0}, "drop_path: 2.0: must be at least 0 and less than 1"),
    ],
)
def test_the_recipe_of_a_training_that_comes_last_is_checked_first(place: str, recipe: dict[str, object], message: str):
    last = {"scheduler": {**ONE_SHOT["scheduler"], "retrain_recipe": recipe}}
    assert f"{place}.{message}" in refusal(
        **(last if place.startswith("scheduler") else {"retrain": {"recipe": recipe}})
    )


@pytest.mark.usefixtures("images")
def test_a_method_is_part_of_an_experiments_identity():
    one = assemble(experiment(data={"path": "x"}))
    other = assemble(experiment(data={"path": "x"}, method={"name": "darts", "order": 2}))
    assert one.identity()["method"]["name"] == "darts"
    assert one.identity() != other.identity()
