"""The `_small` experiment files, through all stages of a search: on fewer data and epochs, as nothing else differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spark_nas.assemble import Parts, build_recipes, load_experiment, parse_experiment
from spark_nas.commands.search import search
from spark_nas.report.leaderboard import incumbent
from spark_nas.search.protocols import Dataset
from spark_nas.search.records import SUPERNET
from spark_nas.storage.files import LocalFiles
from tests.contracts.supernets import Text
from tests.evaluation.training_support import Digits

CONF = Path(__file__).resolve().parents[2] / "conf"
SMALL = sorted(path.stem for path in CONF.glob("*_small.yaml"))
PAPERS = sorted(name.removesuffix("_small") for name in SMALL)
LESS = [
    "scheduler.supernets.trials=1",
    "scheduler.supernets.max_resource=1",
    "scheduler.finalists=2",
    "scheduler.retrain.max_resource=1",
    "engine=local",
]


def parts_of(name: str) -> Parts:
    """The experiment with a handful of real data in memory instead of prepared shards."""
    experiment = load_experiment(CONF / f"{name}.yaml", LESS)
    if experiment.scheduler.candidates:
        experiment = replace(experiment, scheduler=replace(experiment.scheduler, candidates=3))
    if hasattr(experiment.method, "warmup_epochs"):
        experiment = replace(experiment, method=replace(experiment.method, warmup_epochs=0.0))
    if hasattr(experiment.method, "derived"):
        experiment = replace(experiment, method=replace(experiment.method, derived=3, controller_steps=2))
    space = experiment.space.build()
    dataset: Dataset = Text() if "rnn" in name else Digits((("train", 128), ("valid", 64)))  # type: ignore[assignment]
    evaluator = replace(experiment.evaluator.build(space, dataset, 1), method=experiment.method)
    return Parts(experiment, space, build_recipes(experiment), dataset, evaluator)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    # The two that take longest and differ from `darts_small` by their method alone, which its own tests train.
    [pytest.param(n, marks=[pytest.mark.exhaustive] if n in ("darts2_small", "pc_darts_small") else []) for n in SMALL],
)
def test_a_supernet_is_trained_architectures_are_scored_and_the_best_is_retrained(name: str, tmp_path: Path):
    parts = parts_of(name)
    results = search(parts, LocalFiles(tmp_path / "run"), "run")
    assert {"completed"} == {result.status for result in results}, [result.error for result in results]
    supernet, *others = results
    assert SUPERNET == supernet.job.trial.architecture
    scores = [result for result in others if result.job.resource == 0]
    assert scores
    assert {supernet.job.key} == {result.job.start_from for result in scores}
    (retrained,) = (result for result in others if result.job.resource)
    assert retrained == incumbent(results)
    best = min((result for result in scores if result.job.rung == 1), key=lambda result: result.loss)
    assert best.job.trial.architecture == retrained.job.trial.architecture


@pytest.mark.slow
def test_recipes_of_supernets_are_searched_by_asha_and_the_best_supernet_is_scored(tmp_path: Path):
    raw = {
        "space": {"name": "nas_bench_201", "channels": 4, "cells": 1},
        "recipe": {"learning_rate": {"float": [1e-3, 0.3], "log": True}},
        "scheduler": {
            "name": "one_shot",
            "supernets": {"name": "asha", "trials": 4, "max_resource": 2, "eta": 2},
            "scored": 1,
            "candidates": 3,
        },
        "method": "random_sharing",
        "evaluator": {"name": "training", "batch_size": 32},
    }
    experiment = parse_experiment(raw)
    space = experiment.space.build()
    dataset = Digits((("train", 128), ("valid", 64)))
    evaluator = replace(experiment.evaluator.build(space, dataset, 2), method=experiment.method)
    results = search(
        Parts(experiment, space, build_recipes(experiment), dataset, evaluator), LocalFiles(tmp_path), "run"
    )
    supernets = [result for result in results if result.supernet]
    trained = [result for result in supernets if result.job.resource == 2]
    assert 4 == len({result.job.trial.recipe["learning_rate"] for result in supernets})
    assert [1] * len(trained) == [len(result.curve) for result in trained]  # each went on from its first rung
    best = min(trained, key=lambda result: (result.loss, result.job.key))
    scores = [result for result in results if not result.supernet]
    assert {best.job.key} == {result.job.start_from for result in scores}
    assert {best.job.trial.recipe["learning_rate"]} == {result.job.trial.recipe["learning_rate"] for result in scores}


@pytest.mark.parametrize("name", PAPERS)
def test_each_has_a_form_with_the_settings_of_its_paper(name: str):
    paper, small = load_experiment(CONF / f"{name}.yaml"), load_experiment(CONF / f"{name}_small.yaml")
    assert type(paper.method) is type(small.method)
    assert paper.scheduler.supernets.max_resource > small.scheduler.supernets.max_resource
