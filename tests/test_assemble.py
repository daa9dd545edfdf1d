"""The composition root: every name leads to its options, and what makes a run the same run is told exactly."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from spark_nas.assemble import (
    COMPONENTS,
    assemble,
    build_recipes,
    describe,
    load_experiment,
    parse_experiment,
    recipe_section,
)
from spark_nas.checking import component_class
from spark_nas.engines.local import LocalEngine
from spark_nas.engines.simulated import MemoryStore, SimulatedEngine
from spark_nas.errors import ConfigError, DataError
from spark_nas.search.records import Result
from spark_nas.spaces.mlp import Mlp

CONF = Path(__file__).resolve().parents[1] / "conf"
BASE: Mapping[str, Any] = {
    "space": {"name": "mlp", "max_layers": 2},
    "scheduler": {"name": "hyperband", "max_resource": 9},
    "evaluator": "synthetic",
}
NAMES = [(section, name) for section, names in COMPONENTS.items() for name in names]


def experiment(**changed: object):
    return parse_experiment({**BASE, **changed}, "file")


def refusal(**changed: object) -> str:
    with pytest.raises(ConfigError) as caught:
        experiment(**changed)
    return str(caught.value)


# --------------------------------------------------------------------------------------------- the names


@pytest.mark.parametrize(("section", "name"), NAMES)
def test_a_name_leads_to_frozen_options_that_can_build(section: str, name: str):
    cls = component_class(COMPONENTS[section][name])
    assert dataclasses.is_dataclass(cls)
    assert cls.__dataclass_params__.frozen
    assert callable(cls.build)
    assert cls.__doc__


@pytest.mark.parametrize(("section", "name"), NAMES)
def test_every_option_says_what_it_means(section: str, name: str):
    cls = component_class(COMPONENTS[section][name])
    source = "".join(inspect.getsource(base) for base in cls.__mro__ if dataclasses.is_dataclass(base))
    lines = [line.strip() for line in source.splitlines()]
    obvious = {"batch_size", "label_smoothing", "learning_rate", "optimizer", "cells", "trials"}
    for field in dataclasses.fields(cls):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"{field.name}:"))
        assert field.name in obvious or '"""' in "".join(lines[at + 1 : at + 4])


@pytest.mark.parametrize("section", COMPONENTS)
def test_names_are_sorted_and_lead_to_different_places(section: str):
    assert sorted(COMPONENTS[section]) == list(COMPONENTS[section])
    assert len(set(COMPONENTS[section].values())) == len(COMPONENTS[section])


@pytest.mark.parametrize("name", COMPONENTS["scheduler"])
def test_a_description_read_as_a_section_is_the_same_options_again(name: str):
    options = {"max_resource": 9} | ({"trials": 30} if "halving" in name or name == "full_training" else {})
    more: dict[str, object] = {"budget": {"jobs": 3}}
    if name == "one_shot":
        options = {"supernets": {"name": "full_training", "trials": 3, "max_resource": 9}, "retrain": {"name": "asha"}}
        more["method"] = "random_sharing"
    first = experiment(scheduler={"name": name, **options}, **more).scheduler
    described = describe(first)
    assert described["name"] == name
    assert first == experiment(scheduler=described, **more).scheduler


@pytest.mark.parametrize("file", sorted(CONF.glob("*.yaml")), ids=lambda path: path.name)
def test_every_experiment_file_that_is_shipped_is_right(file: Path):
    assert load_experiment(file).name == file.stem


# ------------------------------------------------------------------------------------------- the objects


def test_schedulers_of_one_experiment_ask_the_same_jobs():
    parts = assemble(experiment())
    assert parts.scheduler().ask(9) == parts.scheduler().ask(9) == assemble(experiment()).scheduler().ask(9)


def test_the_seed_decides_the_proposals_and_the_seeds_of_trials():
    (one,), (other,) = (assemble(experiment(seed=seed)).scheduler().ask(1) for seed in (1, 2))
    assert one.trial.recipe != other.trial.recipe
    assert one.trial.seed != other.trial.seed


def test_the_engine_is_the_one_that_the_file_names():
    local, simulated = (
        assemble(experiment(engine=engine)).engine(MemoryStore()) for engine in ({"slots": 3}, {"name": "simulated"})
    )
    assert (LocalEngine, 3) == (type(local), local.slots)
    assert (SimulatedEngine, 25) == (type(simulated), simulated.slots)


def test_the_engine_runs_the_experiments_jobs_with_its_evaluator():
    parts = assemble(experiment())
    engine, (job,) = parts.engine(MemoryStore()), parts.scheduler().ask(1)
    engine.submit([job])
    (result,) = engine.wait()
    assert isinstance(result, Result)
    assert (job, "completed", job.resource) == (result.job, result.status, len(result.curve))


def test_an_experiment_adds_to_the_recipe_of_its_space_and_overrides_it():
    mine = experiment(recipe={"dropout": 0.25, "momentum": {"float": [0.5, 0.9]}})
    default = Mlp(max_layers=2).default_recipe()
    assert {**default, "dropout": 0.25, "momentum": {"float": [0.5, 0.9]}} == recipe_section(mine)
    assert {*default, "momentum"} == set(build_recipes(mine).names)


# ------------------------------------------------------------------------------------------ the identity


@pytest.mark.parametrize(
    "changed",
    [
        {"engine": {"name": "simulated", "workers": 3}},
        {"budget": {"seconds": 60}},
        {"retrain": {"epochs": 20}},
        {"name": "another"},
        {"sampler": "random"},
        {"evaluator": {"name": "synthetic", "gap": 1}},
        {"scheduler": {"name": "hyperband", "max_resource": 9, "eta": 3}},
        {"recipe": {"dropout": Mlp(max_layers=2).default_recipe()["dropout"]}},
    ],
)
def test_where_and_how_long_it_runs_and_what_is_said_needlessly_is_no_part_of_the_identity(changed: dict[str, object]):
    assert assemble(experiment()).identity() == assemble(experiment(**changed)).identity()


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 2},
        {"space": {"name": "mlp", "max_layers": 3}},
        {"space": "nas_bench_201"},
        {"sampler": {"replacement": True}},
        {"scheduler": {"name": "hyperband", "max_resource": 9, "eta": 2}},
        {"scheduler": {"name": "full_training", "max_resource": 9, "trials": 3}},
        {"evaluator": {"name": "synthetic", "gap": 2}},
        {"recipe": {"dropout": 0.1}},
    ],
)
def test_whatever_decides_the_results_is_part_of_the_identity(changed: dict[str, object]):
    assert assemble(experiment()).identity() != assemble(experiment(**changed)).identity()


def test_the_identity_survives_json():
    identity = assemble(experiment()).identity()
    assert json.loads(json.dumps(identity)) == json.loads(json.dumps(assemble(experiment()).identity()))


# --------------------------------------------------------------------------- what only sections together show


@pytest.mark.parametrize("scheduler", ["asha", "asynchronous_hyperband", {"name": "hyperband", "iterations": None}])
def test_a_search_that_never_ends_needs_a_budget(scheduler: object):
    assert "is endless: give budget.seconds, .jobs or .resource" in refusal(scheduler=scheduler)
    for budget in ({"seconds": 9}, {"jobs": 9}, {"resource": 9}):
        assert experiment(scheduler=scheduler, budget=budget).scheduler.endless


@pytest.mark.parametrize("scheduler", ["asha", "asynchronous_hyperband", "stopping"])
def test_rounds_are_for_schedulers_that_wait_for_them(scheduler: str):
    changed = {"scheduler": {"name": scheduler, "max_resource": 9}, "budget": {"jobs": 9}}
    message = f"file: engine.name: 'spark_rounds': {scheduler} decides after each result: use spark_async"
    assert message == refusal(**changed, engine="spark_rounds")
    assert experiment(**changed, engine="spark_async").engine
    assert experiment(engine="spark_rounds").engine


TRAINING = {"name": "training"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"recipe": {"learning_rte": 0.1}}, "recipe.learning_rte: 0.1: neither the space nor the training"),
        ({"recipe": {"batch_size": {"float": [0.1, 0.9]}}}, "recipe.batch_size: 0."),
        ({"recipe": {"learning_rate": {"float": [-2, -1]}}}, "recipe.learning_rate: -1."),
        ({"recipe": {"optimizer": "sdg"}}, "recipe.optimizer: 'sdg': must be one of sgd, adam, adamw, rmsprop"),
        ({"recipe": {"activation": {"choice": ["swish"]}}}, "recipe.activation: 'swish': known: elu, gelu, relu"),
        ({"recipe": {"units_1": 0}}, "recipe.units_1: 0: use a whole number of at least 1"),
        ({"space": "wide_resnet", "recipe": {"depth": 17}}, "recipe.depth: 17: use 6n + 4: 10, 16, 22, 28, ..."),
        (
            {"space": "wide_resnet", "recipe": {"dropout": 1.5}},
            "recipe.dropout: 1.5: use a number of at least 0 and below 1",
        ),
        ({"space": "mlp", "recipe": {"dropout": -1}}, "recipe.dropout: -1: use a number of at least 0 and below 1"),
        ({"space": "nas_bench_201", "recipe": {"channels": 0}}, "recipe.channels: 0: use a whole number of at least 1"),
        ({"space": "darts", "recipe": {"layers": 2}}, "recipe.layers: 2: use a whole number of at least 3"),
        (
            {"evaluator": {**TRAINING, "minimum_learning_rate": 0.02}, "recipe": {"learning_rate": 0.01}},
            "evaluator.minimum_learning_rate: 0.02: must not exceed learning_rate",
        ),
    ],
)
def test_recipes_that_no_job_could_use_are_found_at_once(changed: dict[str, object], message: str):
    assert f"file: {message}" in refusal(**{"evaluator": TRAINING, **changed})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"evaluator": TRAINING}, "file: data: None: training needs a data set: add a data section"),
        (
            {"scheduler": {"name": "full_training", "max_resource": 0, "trials": 1}},
            "file: scheduler.max_resource: 0: must be at least 1",
        ),
        (
            {"space": "nas_bench_201", "evaluator": "tabular", "scheduler": {"name": "hyperband", "max_resource": 200}},
            "file: scheduler.name: 'hyperband': has a rung at 2, but tabular knows only 200: use full_training",
        ),
    ],
)
def test_what_does_not_fit_together_is_told_where_it_stands(changed: dict[str, object], message: str):
    with pytest.raises(ConfigError) as caught:
        assemble(experiment(**changed))
    assert message == str(caught.value)


def test_a_table_serves_the_rungs_it_knows():
    scheduler = {"name": "full_training", "max_resource": 200, "trials": 3}
    parts = assemble(experiment(space="nas_bench_201", evaluator="tabular", scheduler=scheduler))
    (job,) = parts.scheduler().ask(1)
    engine = parts.engine(None)
    engine.submit([job])
    assert [result.status for result in engine.wait()] == ["completed"]


def test_more_rows_than_the_table_has_are_the_spaces_fault(shared_data: Callable[[str], Path]):
    path = str(shared_data("tabular/lcbench_surrogate_10k_curves.npz"))
    evaluator = {"name": "tabular", "table": "lcbench", "path": path, "task": "189908"}
    with pytest.raises(ConfigError, match=r"file: space.rows: 1000000: must be at most \d+, the rows of this table"):
        assemble(experiment(space={"name": "table_rows", "rows": 10**6}, evaluator=evaluator))


def test_data_that_are_not_there_are_told_as_such(tmp_path: Path):
    with pytest.raises(DataError, match="no such data folder"):
        assemble(experiment(evaluator=TRAINING, data={"path": str(tmp_path / "none")}))
