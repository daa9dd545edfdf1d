"""Learning curves by formula: a declared fiction for simulated clusters, plans and tests. No network is trained.

A trial has a quality q, uniform in [0, 1). After k units of resource its loss is q + gap · k^-decay, plus normal noise
of standard deviation noise / √k. Without noise, every rung ranks the trials as the last one does, which is the perfect
ranking that the simulations of Li et al. (MLSys 2020, appendix A.1) assume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Literal

from spark_nas.errors import OptionError
from spark_nas.evaluation.curves import CurveEvaluator
from spark_nas.search.protocols import Dataset
from spark_nas.search.records import CurvePoint, Trial, derive_seed
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class Synthetic:
    """Options of the synthetic evaluator."""

    quality: Literal["seed", "architecture"] = "seed"
    """What decides q: the trial's seed (independent trials), or its architecture and recipe (a fixed landscape)."""
    gap: float = 1.0
    """Loss above q after one unit."""
    decay: float = 1.0
    """How fast the gap closes; 0 never closes it."""
    noise: float = 0.0
    """Standard deviation after one unit; it shrinks with the square root of the resource."""
    divergence: float = 0.0
    """Probability that a trial's training diverges, at a resource uniform in 1..max_resource."""

    def __post_init__(self) -> None:
        for key in ("gap", "decay", "noise"):
            if not 0 <= getattr(self, key) < math.inf:
                raise OptionError(key, getattr(self, key), "must be at least 0 and finite")
        if not 0 <= self.divergence <= 1:
            raise OptionError("divergence", self.divergence, "must be between 0 and 1")

    def build(self, space: SearchSpace, dataset: Dataset | None, max_resource: int) -> CurveEvaluator:
        """The evaluator; it takes any space and looks at no data."""
        if max_resource < 1:
            raise OptionError("max_resource", max_resource, "must be at least 1")
        return CurveEvaluator(FormulaCurves(self, max_resource))


@dataclass(frozen=True)
class FormulaCurves:
    """The curves; all of them are functions of the trial and the options alone."""

    options: Synthetic
    max_resource: int

    def resources(self) -> range:
        """1..max_resource."""
        return range(1, self.max_resource + 1)

    def point(self, trial: Trial, resource: int) -> CurvePoint:
        """The loss after `resource` units; NaN from where the training diverges."""
        if resource >= self._diverges_at(trial):
            return CurvePoint(resource, math.nan)
        options = self.options
        loss = self.quality(trial) + options.gap * resource**-options.decay
        if options.noise:
            noise = Random(derive_seed("noise", trial.seed, resource)).gauss(0, options.noise)
            loss += noise / math.sqrt(resource)
        return CurvePoint(resource, loss)

    def seconds(self, trial: Trial, resource: int) -> float:
        """One second a unit."""
        return float(resource)

    def quality(self, trial: Trial) -> float:
        """q, in [0, 1): the loss of an endless training."""
        if self.options.quality == "seed":
            seed = derive_seed("quality", trial.seed)
        else:
            recipe = [f"{name}={value!r}" for name, value in trial.recipe.items()]
            seed = derive_seed("quality", trial.architecture.to_json(), *recipe)
        return seed / 2**31

    def _diverges_at(self, trial: Trial) -> float:
        if not self.options.divergence:
            return math.inf
        rng = Random(derive_seed("divergence", trial.seed))
        return rng.randint(1, self.max_resource) if rng.random() < self.options.divergence else math.inf
