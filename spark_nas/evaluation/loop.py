"""The one `fit` loop: ordinary training, and supernets under any `OneShotMethod`; and measuring a split.

`fit` goes through given epochs and knows nothing of jobs, rungs or checkpoints. Learning rate and drop-path
follow the full budget (`horizon`), and all that is random follows (seed, epoch), so a training cut at any
epoch and resumed is the training that was never cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from spark_nas.errors import Diverged
from spark_nas.evaluation.determinism import seed_torch
from spark_nas.evaluation.feed import Feed
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, OneShotMethod
from spark_nas.evaluation.optimisers import learning_rate, set_learning_rate

if TYPE_CHECKING:
    from spark_nas.evaluation.training import Training


@dataclass(frozen=True, slots=True)
class Measured:
    """Means over the examples of one pass: loss, and share of wrong answers."""

    loss: float
    error: float


@dataclass(frozen=True, slots=True)
class Course:
    """What stays the same over all epochs of a training."""

    options: Training
    feed: Feed
    train_on: tuple[str, ...]
    """The splits whose rows are an epoch."""
    seed: int
    horizon: int
    """Epochs of the full budget, R."""
    check_time: Callable[[], None]
    """Called each batch; raises when the job has run too long."""


def fit(
    network: nn.Module, method: OneShotMethod, optimiser: optim.Optimizer, course: Course, epochs: range
) -> Iterator[tuple[int, Measured, float]]:
    """Train, and after each epoch yield its number (from 0), training loss and error, and first learning rate.

    The loss is the one that is minimised: smoothed labels, auxiliary head and augmentation included.
    Raises Diverged at the first loss that is not finite.
    """
    options, feed = course.options, course.feed
    steps = math.ceil(feed.rows(course.train_on) / options.batch_size)
    for epoch in epochs:
        seed_torch(feed.device, course.seed, "epoch", epoch)
        network.train()
        set_drop_path(network, options.drop_path * epoch / course.horizon)
        valid_batches = _valid_batches(method, course, epoch)
        seen, wrong, total = 0, 0, 0.0
        for step, (x, y) in enumerate(feed.shuffled(course.train_on, options.batch_size, course.seed, epoch)):
            if len(y) == 1 < options.batch_size:
                continue  # a left-over of one example has no batch statistics to normalise by
            course.check_time()
            set_learning_rate(optimiser, learning_rate(options, epoch + step / steps, course.horizon))
            method.step(network, (x, y), next(valid_batches))
            loss, logits = loss_of(network, x, y, method.gates(), options)
            value = loss.item()
            if not math.isfinite(value):
                raise Diverged(f"training loss became {value} in epoch {epoch + 1}, step {step + 1} of {steps}")
            descend(loss, network, optimiser, options.clip_norm)
            seen, total = seen + len(y), total + value * len(y)
            wrong += int((logits.detach().argmax(1) != y).sum())
        yield epoch, Measured(total / seen, wrong / seen), learning_rate(options, epoch, course.horizon)


def descend(loss: Tensor, network: nn.Module, optimiser: optim.Optimizer, clip_norm: float) -> None:
    """One step on the weights that the loss depends on; all others keep value, momentum and decay untouched."""
    # A gradient of None is skipped by the optimiser; one of zero would still decay and move the weight.
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimiser.step()


def loss_of(network: nn.Module, x: Tensor, y: Tensor, gates: Gates | None, options: Training) -> tuple[Tensor, Tensor]:
    """The scalar training loss and the logits [B, classes]; a network may return (logits, auxiliary logits)."""
    logits, auxiliary = run(network, x, gates, options.precision)
    loss = F.cross_entropy(logits, y, label_smoothing=options.label_smoothing)
    if auxiliary is not None and options.auxiliary_weight > 0:
        extra = F.cross_entropy(auxiliary, y, label_smoothing=options.label_smoothing)
        loss = loss + options.auxiliary_weight * extra
    return loss, logits


def run(network: nn.Module, x: Tensor, gates: Gates | None, precision: str) -> tuple[Tensor, Tensor | None]:
    """Logits and auxiliary logits (or None) in float32, whatever precision the network runs in."""
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = network(x, gates)
    if isinstance(output, tuple):
        logits, auxiliary = output
        return logits.float(), None if auxiliary is None else auxiliary.float()
    return output.float(), None


@torch.inference_mode()
def measure(network: nn.Module, gates: Gates | None, course: Course, split: str) -> Measured:
    """Plain cross-entropy and error of a split, in its stored order. Raises Diverged when not finite."""
    network.eval()
    seen, wrong, total = 0, 0, 0.0
    for x, y in course.feed.stored(split, course.options.evaluation_batch_size):
        course.check_time()
        logits, _ = run(network, x, gates, course.options.precision)
        total += F.cross_entropy(logits, y, reduction="sum").item()
        wrong += int((logits.argmax(1) != y).sum())
        seen += len(y)
    if not math.isfinite(total):
        raise Diverged(f"the loss on the {split} split became {total}")
    return Measured(total / seen, wrong / seen)


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Give each part of the network that drops paths (it has a number `drop_path`) its rate for this epoch."""
    for module in network.modules():
        if isinstance(getattr(module, "drop_path", None), float):
            vars(module)["drop_path"] = rate


def _valid_batches(method: OneShotMethod, course: Course, epoch: int) -> Iterator[Batch | None]:
    """Endless validation batches for a method that learns from them; otherwise endless None."""
    if not method.needs_valid:
        while True:
            yield None
    for again in range(2**31):
        # Each pass over the split has an order of its own, told apart from the training split's by its seed.
        yield from course.feed.shuffled(("valid",), course.options.batch_size, course.seed, epoch * 2**20 + again)
