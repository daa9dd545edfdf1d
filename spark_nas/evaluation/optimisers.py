"""Optimisers by name, and the learning rate as a function of how much of the full budget is spent.

The rate is a pure function of progress, never of how a trial was cut into jobs, so a schedule has no state.
Cosine, without restarts and with: Loshchilov & Hutter 2017; step: He et al. 2016, section 4.2; linear warm-up: Goyal et
al. 2017, section 2.2. Averaged SGD: Merity et al. 2018 (AWD-LSTM), section 3, Algorithm 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn, optim

from spark_nas.evaluation.restoring import assign, restored

if TYPE_CHECKING:
    from spark_nas.evaluation.training import Training

Maker = Callable[[Iterable[nn.Parameter], "Training"], optim.Optimizer]


class AveragedSGD(optim.SGD):
    """Plain SGD until the watched loss stops falling, and from then on also the mean of the weights after each step.

    It begins to average after the first epoch whose loss is worse than the best of all epochs but the last
    `non_monotone` before it: the released AWD-LSTM's reading of the paper's trigger. The steps themselves are those of
    SGD throughout (ASGD with a constant rate), so whether the averages are kept changes nothing of the training; they
    are what is measured, see `averaged`. A weight without a gradient is neither stepped nor averaged.

    Losses and averages are part of `state_dict()`, in tensors, lists and numbers only.

    Args:
        parameters: the weights.
        lr: learning rate.
        weight_decay: as L2 in the gradient.
        non_monotone: epochs that are not looked at, at least 1.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float, non_monotone: int) -> None:
        super().__init__(parameters, lr=lr, weight_decay=weight_decay, foreach=True)
        # Kept in the first group, as `state_dict` keeps what the groups hold, and nothing else of an optimiser.
        self.param_groups[0].update(non_monotone=non_monotone, losses=[], averaging=False)

    @property
    def averaging(self) -> bool:
        """Whether it has begun to average."""
        return bool(self.param_groups[0]["averaging"])

    def observe(self, loss: float) -> None:
        """Take note of an epoch's loss, and decide whether to average from here on."""
        first = self.param_groups[0]
        if first["averaging"]:
            return
        older = first["losses"][: -first["non_monotone"]]
        first["averaging"] = bool(older) and loss > min(older)
        first["losses"].append(loss)

    def step(self, closure: Any = None) -> Any:  # noqa: ANN401 - as torch has it
        """One step of SGD; then, once it averages, the mean of each weight that has moved goes on."""
        loss = super().step(closure)
        if self.averaging:
            with torch.no_grad():
                self._average()
        return loss

    def _average(self) -> None:
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                state["averaged"] = state.get("averaged", 0) + 1
                if state["averaged"] == 1:
                    state["average"] = weight.detach().clone()
                else:
                    state["average"].lerp_(weight, 1 / state["averaged"])


def observe(optimiser: optim.Optimizer, loss: float) -> None:
    """Tell an optimiser what was measured after an epoch; only averaged SGD listens."""
    if isinstance(optimiser, AveragedSGD):
        optimiser.observe(loss)


@contextmanager
def averaged(optimiser: optim.Optimizer) -> Iterator[None]:
    """Within, the weights are their averages, where there are any; afterwards they are bit for bit what they were."""
    weights = [
        weight
        for group in optimiser.param_groups
        for weight in group["params"]
        if isinstance(optimiser, AveragedSGD) and "average" in optimiser.state.get(weight, {})
    ]
    with restored(weights):
        assign(weights, [optimiser.state[weight]["average"] for weight in weights])
        yield


# `fused` and `foreach` update all parameters in one call: cheaper for small networks on a CPU too.
OPTIMISERS: dict[str, Maker] = {
    "sgd": lambda parameters, options: optim.SGD(
        parameters,
        lr=options.learning_rate,
        momentum=options.momentum,
        nesterov=options.nesterov and options.momentum > 0,  # torch refuses the one without the other
        weight_decay=options.weight_decay,
        foreach=True,  # fused SGD fails when a weight gets its first gradient later than the others'
    ),
    "adam": lambda parameters, options: optim.Adam(
        parameters,
        lr=options.learning_rate,
        betas=(options.momentum, 0.999),
        weight_decay=options.weight_decay,
        fused=True,
    ),
    "adamw": lambda parameters, options: optim.AdamW(
        parameters,
        lr=options.learning_rate,
        betas=(options.momentum, 0.999),
        weight_decay=options.weight_decay,
        fused=True,
    ),
    "rmsprop": lambda parameters, options: optim.RMSprop(
        parameters,
        lr=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        foreach=True,
    ),
    "averaged_sgd": lambda parameters, options: AveragedSGD(
        parameters,
        lr=options.learning_rate,
        weight_decay=options.weight_decay,
        non_monotone=options.non_monotone,
    ),
}


def learning_rate(options: Training, epochs: float, horizon: int) -> float:
    """The rate after `epochs` of training (fractions count) when the full budget is `horizon` epochs."""
    if epochs < options.warmup:
        # The first step of a warm-up must not be at zero, so the ramp starts at a tenth.
        return options.learning_rate * (0.1 + 0.9 * epochs / options.warmup)
    spent, low = min(epochs / horizon, 1.0), options.minimum_learning_rate
    if options.schedule == "cosine_restarts":
        spent = _of_cycle(epochs, options.restart)
    if options.schedule.startswith("cosine"):
        return low + (options.learning_rate - low) * (1 + math.cos(math.pi * spent)) / 2
    if options.schedule == "exponential":
        return max(low, options.learning_rate * options.decay ** max(0, math.floor(epochs) - options.hold))
    if options.schedule == "step":
        return options.learning_rate * options.decay ** sum(spent >= milestone for milestone in options.milestones)
    return options.learning_rate


def _of_cycle(epochs: float, first: int) -> float:
    """How much of its cycle is over, where the first one has `first` epochs and each other twice the one before's."""
    begin, length = 0, first
    while epochs >= begin + length:
        begin, length = begin + length, 2 * length
    return (epochs - begin) / length


def set_learning_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """Give all parameter groups one rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
