"""SNAS: stochastic neural architecture search (Xie, Zheng, Liu and Lin, ICLR 2019, section 2).

    min over a and w of E[Z ~ p_a] L_train(Z, w),   Z = softmax((log a + G) / lambda), G ~ Gumbel(0, 1)

A choice is a concrete random variable: a point of the simplex that comes to a corner as the temperature lambda falls.
A batch runs one sample of all choices, every option times its Z, and a single backward gives the gradients of the
weights and, through Z, of log a: there is one level, and no validation data.

So the step on the weights is the step on the architecture. `gates` hands the sample out with its graph, the loop's own
backward leaves dL/dlog a in the parameters, and the next `step`, or the end of the epoch, lets Adam take it before the
next sample is drawn. The numbers are those of two optimisers that step after one backward: nothing reads log a in
between. A second pass of `step`'s own would cost as much again, and would see other dropped paths than the weights do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.gdas import SamplerOptions
from spark_nas.evaluation.oneshot.mixture import Layout, MixtureMethod, require_numbers
from spark_nas.evaluation.oneshot.paths import gumbel_like
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Valid
from spark_nas.evaluation.oneshot.resources import costs_of, read_table
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions, SoftmaxWeights
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.latency import LatencyTable

ResourceGradient = Literal["reparameterisation", "policy"]


@dataclass(frozen=True)
class Snas(SoftmaxOptions, SamplerOptions):
    """Options of SNAS; defaults are the paper's on CIFAR-10, of 150 epochs."""

    temperature: float = 1.0
    last_temperature: float = 0.03
    anneal: bool = True
    """Whether the temperature falls linearly from epoch to epoch, as in the paper; released is False."""
    init_mean: float = 1.0
    """Mean of log a at the beginning. Probabilities do not depend on it; from where the decay pulls, does."""
    init_scale: float = 0.01
    """Standard deviation of log a at the beginning."""
    resources: str | Mapping[str, Any] | None = None
    """The cost of each option, as `spaces.latency` describes, or a JSON file with it; None constrains nothing."""
    resource_weight: float = 0.0
    """What a unit of cost counts in the loss."""
    resource_gradient: ResourceGradient = "reparameterisation"
    """How the gradient of the expected cost is estimated: through Z, in which the cost is linear; or, for costs that
    only whole networks have, as the cost of the network Z decides on times the score of Z (`policy`)."""
    table: LatencyTable | None = field(init=False, default=None)
    """What `resources` gives."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, resource_weight=0)
        if abs(self.init_mean) == float("inf") or self.init_mean != self.init_mean:
            raise OptionError("init_mean", self.init_mean, "must be a finite number")
        if self.resource_gradient not in ("reparameterisation", "policy"):
            raise OptionError("resource_gradient", self.resource_gradient, "must be reparameterisation or policy")
        if (self.resources is None) != (self.resource_weight == 0):
            raise OptionError("resource_weight", self.resource_weight, "goes with resources: above 0 with, 0 without")
        object.__setattr__(self, "table", read_table(self.resources, key="resources"))

    def temperature_at(self, epochs: float, horizon: int) -> float:
        """The temperature after `epochs` of `horizon`."""
        return super().temperature_at(epochs, horizon) if self.anneal else self.temperature

    def build(self, space: SearchSpace) -> SnasMethod:
        """The method. Raises OptionError for a space that decides nothing, and for a table of another space."""
        weights = SoftmaxWeights(Layout(space), self)
        with torch.no_grad():
            weights.alpha.add_(self.init_mean)
        return SnasMethod(weights, self)


class SnasMethod(MixtureMethod):
    """Learns log a from the backward of the weights' own step."""

    def __init__(self, weights: SoftmaxWeights, options: Snas) -> None:
        super().__init__(weights, options)
        self._snas = options
        table = options.table
        self.costs_EK: Tensor | None
        costs_EK = None if table is None else costs_of(table, weights.layout, key="resources").to(weights.alpha.dtype)
        self.register_buffer("costs_EK", costs_EK, persistent=False)
        # Part of the state: what is measured after a resume is measured at the same temperature.
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(options.temperature))
        self._drawn: Gates | None = None

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """Learn from the step before, then draw the sample of this one."""
        self._learn()
        self.temperature.fill_(self._snas.temperature_at(learner.epochs, learner.horizon))
        if self.warming_up(learner):
            return
        leaves = self.weights.leaves()
        log_a_EK = self.weights.log_probabilities(leaves)
        log_z_EK = log_concrete(log_a_EK, self.temperature)
        if self.costs_EK is not None:
            cost = expected_cost(log_z_EK, log_a_EK, self.temperature, self.costs_EK, self._snas.resource_gradient)
            # The loop's backward adds the gradient of its loss, through the same sample.
            (self._snas.resource_weight * cost).backward(inputs=leaves, retain_graph=True)  # type: ignore[no-untyped-call]
        self._drawn = self.weights.layout.gates(log_z_EK.exp())

    def gates(self) -> Gates:
        """The sample of this step, with its graph, once; otherwise a fresh one without."""
        drawn, self._drawn = self._drawn, None
        return drawn or self.evaluation_gates()

    def evaluation_gates(self) -> Gates:
        """A fresh sample at the temperature of the last step: what the search minimises is their mean loss."""
        with torch.no_grad():
            log_a_EK = self.weights.log_probabilities(self.weights.leaves())
            return self.weights.layout.gates(log_concrete(log_a_EK, self.temperature).exp())

    def finish_epoch(self, learner: Learner, valid: Valid) -> None:
        """Learn from the last step."""
        self._learn()
        super().finish_epoch(learner, valid)

    def diagnostics(self) -> Mapping[str, float]:
        """Those of a mixture, the temperature, and the mean cost of the networks that p samples."""
        numbers = {**super().diagnostics(), "temperature": self.temperature.item()}
        if self.costs_EK is not None and self._snas.table is not None:
            with torch.no_grad():
                p_EK = self.weights.probabilities(self.weights.leaves())
            numbers["expected_cost"] = self._snas.table.fixed + (p_EK * self.costs_EK).sum().item()
        return numbers

    def _learn(self) -> None:
        self._drawn = None
        slopes = [leaf.grad for leaf in self.weights.leaves() if leaf.grad is not None]
        if slopes:
            self.weights.learn(slopes)


def log_concrete(log_a_EK: Tensor, temperature: Tensor | float) -> Tensor:
    """The logarithm of a concrete sample of each row, [E, K]; -inf where log a is.

    Drawn from torch's generator, differentiable by log a. In the logarithm nothing underflows at low temperatures.
    """
    return ((log_a_EK + gumbel_like(log_a_EK)) / temperature).log_softmax(-1)


def log_density(log_z_EK: Tensor, log_a_EK: Tensor, temperature: Tensor | float) -> Tensor:
    """The logarithm of the density of concrete variables at z, [E]; differentiable by all three.

    log (K-1)! + (K-1) log lambda + sum_k (log a_k - (lambda + 1) log z_k) - K log sum_k a_k z_k^-lambda, on the simplex
    of K options; columns where log a is -inf are none. a need not be normalised. (The release has K = 8 written in,
    bounds z from below by 1e-4, and lets the gradient of a score pass through z as well. We follow the paper.)
    """
    absent_EK = log_a_EK.isneginf()
    options_E = (~absent_EK).sum(-1).to(log_z_EK.dtype)
    log_lambda = torch.as_tensor(temperature, dtype=log_z_EK.dtype, device=log_z_EK.device).log()
    terms_EK = (log_a_EK - (temperature + 1) * log_z_EK).masked_fill(absent_EK, 0.0)
    ratios_EK = (log_a_EK - temperature * log_z_EK).masked_fill(absent_EK, -torch.inf)
    return (
        torch.lgamma(options_E) + (options_E - 1) * log_lambda + terms_EK.sum(-1) - options_E * ratios_EK.logsumexp(-1)
    )


def expected_cost(
    log_z_EK: Tensor, log_a_EK: Tensor, temperature: Tensor, costs_EK: Tensor, gradient: ResourceGradient
) -> Tensor:
    """A scalar whose gradient by log a is an unbiased estimate of that of the expected cost, from one sample.

    By reparameterisation that of E[Z] * costs. By policy that of the mean cost of networks decided by argmax Z, which
    is p * costs at every temperature; as a cost is a sum over choices, each score is credited with its own part.
    """
    if gradient == "reparameterisation":
        return (log_z_EK.exp() * costs_EK).sum()
    log_z_EK = log_z_EK.detach()
    costs_E = costs_EK.gather(-1, log_z_EK.argmax(-1, keepdim=True)).squeeze(-1)
    return (costs_E * log_density(log_z_EK, log_a_EK, temperature.detach())).sum()
