"""DARTS: differentiable architecture search (Liu, Simonyan and Yang, ICLR 2019, section 2.3).

    min over alpha of L_valid(w*(alpha), alpha), where w*(alpha) = argmin over w of L_train(w, alpha)

Before each step on the weights, alpha takes one on a validation batch. First order takes w for w*(alpha); second order
the weights one step of SGD ahead, and corrects by a product of the mixed second derivative with a vector, approximated
by a finite difference:

    w' = w - xi (momentum * buffer + dL_train/dw + decay * w)
    dL_valid(w', alpha)/dalpha - xi (dL_train(w+, alpha)/dalpha - dL_train(w-, alpha)/dalpha) / 2 eps
    w+- = w +- eps v, v = dL_valid(w', alpha)/dw', eps = 0.01 / |v|, xi the weights' learning rate
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import GatesOf, Layout, MixtureMethod, gradients
from spark_nas.evaluation.oneshot.protocol import Batch, Learner, Valid
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions, SoftmaxWeights
from spark_nas.evaluation.restoring import assign, restored
from spark_nas.spaces.core import SearchSpace

if TYPE_CHECKING:
    from spark_nas.evaluation.training import Training

_STEP = 0.01
"""Length of the finite difference."""
_GUARD = 1e-6
"""Keeps the clip coefficient of a vanishing gradient finite, as torch's clip_grad_norm_ does."""


@dataclass(frozen=True)
class Darts(SoftmaxOptions):
    """Options of DARTS; defaults are the paper's for convolutional cells, first order."""

    order: Literal[1, 2] = 1
    """2 looks one step of the weights ahead, at about four times the cost; the optimiser must then be SGD, averaged or
    not."""
    clip_unrolled: bool = False
    """Whether the step ahead, and v, are clipped as the weights' gradient is (the release for recurrent cells)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.order not in (1, 2):
            raise OptionError("order", self.order, "must be 1 or 2")

    def check_training(self, training: Training) -> None:
        """Raise OptionError for an optimiser whose step cannot be looked ahead of."""
        if self.order == 2 and training.optimizer not in ("sgd", "averaged_sgd"):  # which takes the steps of SGD
            remedy = "use optimizer: sgd or averaged_sgd"
            raise OptionError("order", 2, f"looks one step of SGD ahead, not of {training.optimizer}: {remedy}")

    def build(self, space: SearchSpace) -> DartsMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        return DartsMethod(SoftmaxWeights(Layout(space), self), self)


class DartsMethod(MixtureMethod):
    """Alternates steps on alpha and on the weights."""

    def __init__(self, weights: SoftmaxWeights, options: Darts) -> None:
        super().__init__(weights, options)
        self._order, self._clip = options.order, options.clip_unrolled

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """One step of Adam on alpha. Raises OptionError for the second order of an optimiser that is not SGD."""
        if self.warming_up(learner):
            return
        weights = self.weights
        leaves = weights.leaves()
        if self._order == 1:
            slope = gradients(learner, valid(), weights.gates, leaves)
        else:
            slope = unrolled_gradients(learner, (train, valid()), weights.gates, leaves, clip=self._clip)
        weights.learn(slope)


def unrolled_gradients(
    learner: Learner, batches: tuple[Batch, Batch], gates_of: GatesOf, leaves: Sequence[Tensor], *, clip: bool = False
) -> tuple[Tensor, ...]:
    """dL_valid(w'(alpha), alpha)/dalpha on a training and a validation batch; the weights are as before afterwards.

    Weights that the training loss does not depend on stay where they are in w', as they do in a real step. The
    look-ahead of Nesterov's momentum is left out. With `clip`, the mixed term is scaled as the step ahead was.
    """
    optimiser, bound = learner.optimiser, learner.clip_norm if clip else 0.0
    if not isinstance(optimiser, optim.SGD):
        raise OptionError(
            "optimizer", type(optimiser).__name__, "second order looks one step of sgd ahead: use order 1"
        )
    train, valid = batches
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    rate = optimiser.param_groups[0]["lr"]
    with restored(weights) as kept:
        step, factor = _step_ahead(learner, train, gates_of, leaves, bound)
        assign(weights, [w - rate * s for w, s in zip(kept, step, strict=True)])
        slopes = torch.autograd.grad(
            learner.loss(valid, gates_of(leaves)), (*leaves, *weights), allow_unused=True, materialize_grads=True
        )
        direct, v = slopes[: len(leaves)], slopes[len(leaves) :]
        norm = _norm(v)
        if norm == 0:
            return direct
        length = norm * _clip_factor(norm, bound)
        shift = _STEP / norm  # of |v|, clipped or not: eps v is of length 0.01
        assign(weights, [w + shift * d for w, d in zip(kept, v, strict=True)])
        above = gradients(learner, train, gates_of, leaves)
        assign(weights, [w - shift * d for w, d in zip(kept, v, strict=True)])
        below = gradients(learner, train, gates_of, leaves)
    scale = rate * factor * length / (2 * _STEP)
    return tuple(d - scale * (a - b) for d, a, b in zip(direct, above, below, strict=True))


def _step_ahead(
    learner: Learner, train: Batch, gates_of: GatesOf, leaves: Sequence[Tensor], bound: float
) -> tuple[list[Tensor | float], float]:
    """By what SGD would move each weight, were its rate 1, and the factor its gradient was clipped by."""
    optimiser = learner.optimiser
    owned = [(weight, group) for group in optimiser.param_groups for weight in group["params"]]
    loss = learner.loss(train, gates_of([leaf.detach() for leaf in leaves]))
    slopes: Sequence[Tensor | None] = torch.autograd.grad(loss, [weight for weight, _ in owned], allow_unused=True)
    factor = _clip_factor(_norm([slope for slope in slopes if slope is not None]), bound)
    steps: list[Tensor | float] = []
    for (weight, group), slope in zip(owned, slopes, strict=True):
        if slope is None:
            steps.append(0.0)
            continue
        step = factor * slope + group["weight_decay"] * weight.detach()
        buffer = optimiser.state.get(weight, {}).get("momentum_buffer")
        steps.append(step if buffer is None else step + group["momentum"] * buffer)
    return steps, factor


def _clip_factor(norm: float, bound: float) -> float:
    """What vectors of this norm together are multiplied by so that it is at most `bound`; 0 does not bound it."""
    # The released code multiplies the mixed term by its quotient also where that is above 1 and nothing was clipped.
    return min(1.0, bound / (norm + _GUARD)) if bound > 0 else 1.0


def _norm(vectors: Sequence[Tensor]) -> float:
    """The L2 norm of all together."""
    norm: float = torch.stack([vector.norm() for vector in vectors]).norm().item()
    return norm
