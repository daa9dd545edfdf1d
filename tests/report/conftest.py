"""Runs for the report: shipped schedulers, sampler, evaluator and driver on the simulated engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import pytest

from spark_nas import driver
from spark_nas.engines.simulated import Simulated
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.report.view import RunView
from spark_nas.search.records import Result
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.recipes import RecipeSpace

RECIPE = {
    "activation": {"choice": ["relu", "tanh", "gelu"]},
    "batch_size": {"choice": [32, 64, 128]},
    "layers": {"int": [1, 4]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "momentum": {"float": [0.5, 0.99], "when": {"optimiser": ["sgd"]}},
    "optimiser": {"choice": ["sgd", "adamw"]},
    "units_1": {"int": [16, 512], "log": True},
    "weight_decay": {"float": [1e-6, 1e-2], "log": True},
}


class MemoryLog:
    """A results table that lives in memory: the driver needs no more."""

    def __init__(self) -> None:
        self.entries: list[tuple[Result, int]] = []

    def append(self, results: Sequence[Result], asked: int) -> None:
        self.entries += [(result, asked) for result in results]

    def rows(self) -> list[tuple[Result, int]]:
        return self.entries


MakeRun = Callable[..., RunView]


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """`make_run(trials=100)` searches with ASHA; `hyperband=81` with Hyperband; `recipe={}` has no hyperparameters."""
    return simulate


def simulate(
    trials: int = 100,
    *,
    hyperband: int | None = None,
    max_resource: int = 64,
    workers: int = 8,
    divergence: float = 0.03,
    drop: float = 0.0003,
    recipe: dict[str, Any] = RECIPE,
    observer: driver.Observer | None = None,
    choices: bool = False,
) -> RunView:
    space, recipes = NasBench201().build(), RecipeSpace(recipe)
    sampler = RandomSearch().build(space, recipes, 1) if choices else RandomSearch().build(_NoChoices(), recipes, 1)
    if hyperband is not None:
        options: Any = Hyperband(max_resource=hyperband)
    else:
        options = Asha(max_resource=max_resource, trials=trials)
    scheduler = options.build(sampler, 1)
    synthetic = Synthetic(quality="architecture" if recipe else "seed", noise=0.05, divergence=divergence)
    evaluator = synthetic.build(space, None, options.max_resource)
    engine = Simulated(workers=workers, straggler_std=0.4, drop_probability=drop, unit_seconds=7.0).build(evaluator)
    log = MemoryLog()
    driver.run(scheduler, engine, log, observer=observer, clock=engine.clock)
    results = [result for result, _ in log.entries]
    record = {
        "run_id": "simulated",
        "experiment": {"space": {"name": "mlp"}, "scheduler": {"name": "asha"}, "recipe": recipe},
        "seed": 1,
        "versions": {"python": "3.11", "torch": "2.13.0"},
        "code_revision": "0123abc",
        "data_fingerprint": "4f2a",
    }
    best = min((r for r in results if r.usable), key=lambda r: (-r.job.resource, r.loss), default=None)
    graph = NasBench201().graph(best.job.trial.architecture, best.job.trial.recipe) if best and choices else None
    return RunView("simulated", record, results, graph=graph)


class _NoChoices:
    """The part of a space that the sampler needs, where only the recipe varies."""

    def sample(self, rng: Random) -> Architecture:
        return Architecture()

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        return iter(())

    def canonical(self, architecture: Architecture) -> str:
        return "{}"

    def size(self) -> int:
        return 1
