"""GDAS: gradient-based search by a differentiable sampler (Dong and Yang, CVPR 2019, section 3.2).

Each step runs one path, drawn by the Gumbel-max trick. Forward, the option drawn counts 1; backward, what it would in
the softmax at temperature tau (straight through):

    h = softmax((log p + G) / tau), i = argmax h, gate of i = 1, with the gradient of h_i

so that dL/dlog p_j = <dL/dy, o_i(x)> h_i (delta_ij - h_j) / tau, of the option drawn alone: no other is computed. (The
release also adds the constants that the other options' gates are, which gives these a gradient that has nothing to do
with their operations. We follow the paper.) The temperature falls linearly, an epoch at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import (
    Layout,
    MixtureMethod,
    MixtureOptions,
    TensorGates,
    Weights,
    gradients,
)
from spark_nas.evaluation.oneshot.paths import drawn_path, gumbel_like
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Valid, path
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions, SoftmaxWeights
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class SamplerOptions(MixtureOptions):
    """How the temperature falls."""

    temperature: float = 10.0
    """tau at the beginning."""
    last_temperature: float = 0.1
    """tau in the last epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("temperature", "last_temperature"):
            if not 0 < getattr(self, key) < math.inf:
                raise OptionError(key, getattr(self, key), "must be a number above 0")

    def temperature_at(self, epochs: float, horizon: int) -> float:
        """The temperature after `epochs` of `horizon`: one for an epoch; it falls once the warm-up is over."""
        span = max(horizon - 1 - self.warmup_epochs, 1.0)
        spent = min(max(math.floor(epochs) - self.warmup_epochs, 0.0) / span, 1.0)
        return self.temperature - (self.temperature - self.last_temperature) * spent


@dataclass(frozen=True)
class Gdas(SoftmaxOptions, SamplerOptions):
    """Options of GDAS; defaults are those of its authors on NAS-Bench-201."""

    def build(self, space: SearchSpace) -> GdasMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        return GdasMethod(SoftmaxWeights(Layout(space), self), self)


class GdasMethod(MixtureMethod):
    """Alternates steps on the probabilities, whichever weights they are, and on those of the network."""

    def __init__(self, weights: Weights, options: SamplerOptions) -> None:
        super().__init__(weights, options)
        self._sampler = options

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """One step on the probabilities, along one path drawn for a validation batch."""
        if self.warming_up(learner):
            return
        temperature = self._sampler.temperature_at(learner.epochs, learner.horizon)
        weights, leaves = self.weights, self.weights.leaves()
        gates_of = partial(drawn_gates, weights, temperature=temperature)
        weights.learn(gradients(learner, valid(), gates_of, leaves))

    def gates(self) -> Gates:
        """A path drawn by the probabilities; the temperature does not change which."""
        return drawn_path(self.weights)

    def evaluation_gates(self) -> Gates:
        """The path that would be derived."""
        return path(self.derive()[0])


def drawn_gates(weights: Weights, leaves: Sequence[Tensor], *, temperature: float) -> TensorGates:
    """One option a choice, drawn from torch's generator by p: weights of exactly 1, with a gradient."""
    log_p_EK = weights.log_probabilities(leaves)
    logits_EK = (log_p_EK + gumbel_like(log_p_EK)) / temperature
    chosen_E1 = logits_EK.argmax(-1, keepdim=True)
    soft_E = logits_EK.softmax(-1).gather(-1, chosen_E1).squeeze(-1)
    hard = (1.0 + (soft_E - soft_E.detach())).unbind()
    drawn = weights.layout.named(chosen_E1.squeeze(-1))
    return {name: {option: gate} for (name, option), gate in zip(drawn.items(), hard, strict=True)}
