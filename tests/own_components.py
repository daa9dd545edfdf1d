"""A space, a sampler and an evaluator as a user would write them, that `assemble.COMPONENTS` does not list."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from spark_nas import Choice, Job, Outcome, Proposal, Result, Space
from spark_nas.search.protocols import Dataset, Evaluator, Workspace
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.recipes import RecipeSpace

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Pairs(Space):
    """Two layers, each with one of the options."""

    options: list[str] = field(default_factory=lambda: ["relu", "tanh"])
    units: int = 8

    @property
    def choices(self):
        return tuple(Choice(f"layer {i}", tuple(self.options)) for i in (1, 2))

    def network(
        self,
        architecture: Mapping[str, str],
        recipe: object,
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ):
        from math import prod

        from torch import nn

        activations = {"relu": nn.ReLU, "tanh": nn.Tanh}
        first, second = (activations[architecture[f"layer {i}"]]() for i in (1, 2))
        layers = [nn.Flatten(), nn.Linear(prod(input_shape), self.units), first, nn.Linear(self.units, classes), second]
        return ungated(layers)


def ungated(layers: Sequence[nn.Module]) -> nn.Module:
    """A chain of layers that ignores gates; torch is imported when there is a network to build."""
    from torch import nn

    class Chain(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Tensor, gates: object = None):
            return self.layers(x)

    return Chain()


@dataclass(frozen=True)
class Climb:
    """Samples `start` times, then mutates the best."""

    start: int = 2

    def build(self, space: SearchSpace, recipes: RecipeSpace, seed: int):
        return Climber(self.start, space, recipes, Random(seed))


class Climber:
    def __init__(self, start: int, space: SearchSpace, recipes: RecipeSpace, rng: Random):
        self.start, self.space, self.recipes, self.rng = start, space, recipes, rng
        self.told: list[Result] = []

    def suggest(self):
        if len(self.told) < self.start:
            return Proposal(self.space.sample(self.rng), self.recipes.sample(self.rng))
        best = min(self.told, key=lambda result: result.loss).job.trial
        return Proposal(self.space.mutate(best.architecture, self.rng), best.recipe)

    def observe(self, result: Result):
        self.told.append(result)


@dataclass(frozen=True)
class Counting:
    """The loss is the share of `relu`; at one trial the process is interrupted, once in the life of `marker`."""

    marker: str = ""
    at: int = 3
    interrupts: int = 0

    def build(self, space: object, dataset: object, max_resource: int):
        return CountingEvaluator(self)


@dataclass(frozen=True)
class CountingEvaluator:
    options: Counting

    def evaluate(self, job: Job, workspace: object):
        options = self.options
        if options.interrupts and job.trial.trial_id == options.at and not Path(options.marker).exists():
            Path(options.marker).touch()
            for _ in range(options.interrupts):
                signal.raise_signal(signal.SIGINT)
        options = list(job.trial.architecture.values())
        return Outcome(options.count("relu") / len(options), {"trial": float(job.trial.trial_id)})


@dataclass(frozen=True)
class Gated:
    """The loss is one over the trial's number plus one; the trial `at` says in `folder/waiting` that it has begun, and
    then waits for `folder/go`.
    """

    folder: str
    at: int

    def build(self, space: object, dataset: object, max_resource: int):
        return GatedEvaluator(self)


@dataclass(frozen=True)
class GatedEvaluator:
    options: Gated

    def evaluate(self, job: Job, workspace: object):
        if job.trial.trial_id == self.options.at:
            Path(self.options.folder, "waiting").touch()
            while not Path(self.options.folder, "go").exists():
                time.sleep(0.01)
        return Outcome(1.0 / (1 + job.trial.trial_id))


@dataclass(frozen=True)
class Scaled:
    """An evaluator around another one."""

    factor: float = 2.0

    def build(self, space: SearchSpace, dataset: Dataset | None, max_resource: int):
        from spark_nas import Training

        return ScaledEvaluator(self.factor, Training(optimizer="adam").build(space, dataset, max_resource))


@dataclass(frozen=True)
class ScaledEvaluator:
    factor: float
    inner: Evaluator

    def evaluate(self, job: Job, workspace: Workspace):
        outcome = self.inner.evaluate(job, workspace)
        return replace(outcome, loss=self.factor * outcome.loss)
