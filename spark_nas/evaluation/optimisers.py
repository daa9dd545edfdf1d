"""Optimisers by name, and the learning rate as a function of how much of the full budget is spent.

The rate is a pure function of progress, never of how a trial was cut into jobs, so a schedule has no state.
Cosine: Loshchilov & Hutter 2017 without restarts; step: He et al. 2016, section 4.2; linear warm-up: Goyal et al.
2017, section 2.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from torch import nn, optim

if TYPE_CHECKING:
    from spark_nas.evaluation.training import Training

Maker = Callable[[Iterable[nn.Parameter], "Training"], optim.Optimizer]

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
}


def learning_rate(options: Training, epochs: float, horizon: int) -> float:
    """The rate after `epochs` of training (fractions count) when the full budget is `horizon` epochs."""
    if epochs < options.warmup:
        # The first step of a warm-up must not be at zero, so the ramp starts at a tenth.
        return options.learning_rate * (0.1 + 0.9 * epochs / options.warmup)
    spent = min(epochs / horizon, 1.0)
    if options.schedule == "cosine":
        low = options.minimum_learning_rate
        return low + (options.learning_rate - low) * (1 + math.cos(math.pi * spent)) / 2
    if options.schedule == "step":
        return options.learning_rate * options.decay ** sum(spent >= milestone for milestone in options.milestones)
    return options.learning_rate


def set_learning_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """Give all parameter groups one rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate
