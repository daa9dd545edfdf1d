"""The one `fit` loop: ordinary training, and supernets under any `Method`; and measuring a split.

`fit` goes through given epochs and knows nothing of jobs, rungs or checkpoints. Learning rate and drop-path
follow the full budget (`horizon`), and all that is random follows (seed, epoch), so a training cut at any
epoch and resumed is the training that was never cut.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice, starmap
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn, optim

from spark_nas.errors import Diverged
from spark_nas.evaluation import group, parallel
from spark_nas.evaluation.determinism import seed_torch
from spark_nas.evaluation.feed import Batches
from spark_nas.evaluation.norms import batch_statistics, norms_of
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Method, Valid
from spark_nas.evaluation.optimisers import learning_rate, set_learning_rate
from spark_nas.evaluation.sequences import CarriedStates, reset
from spark_nas.evaluation.training import nothing_to_learn_from

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
    feed: Batches
    train_on: tuple[str, ...]
    """The splits whose rows are an epoch."""
    seed: int
    horizon: int
    """Epochs of the full budget, R."""
    check_time: Callable[[], None]
    """Called each batch; raises when the job has run too long."""


@dataclass
class Lesson:
    """`protocol.Learner`: the training under way."""

    network: nn.Module
    optimiser: optim.Optimizer
    options: Training
    horizon: int
    epochs: float = 0.0
    _carried: CarriedStates = field(default_factory=CarriedStates)

    def __post_init__(self) -> None:
        self._norms = norms_of(self.network)

    @property
    def clip_norm(self) -> float:
        """Largest norm of a weight gradient; 0 clips none."""
        return self.options.clip_norm

    def loss(self, batch: Batch, gates: Gates | None) -> Tensor:
        """The training loss of a batch; running statistics, and what a sequence carries over, are as before."""
        with batch_statistics(self._norms), self._carried.aside(self.network, batch.split):
            network, gates = parallel.replicas(self.network, gates)
            return parallel.mean(loss_of(network, parallel.share(batch), gates, self.options)[0])

    def logits(self, batch: Batch, gates: Gates | None) -> Tensor:
        """The network's answer, [len(y), classes]."""
        with batch_statistics(self._norms), self._carried.aside(self.network, batch.split):
            network, gates = parallel.replicas(self.network, gates)
            return parallel.gather(run(network, parallel.share(batch).x, gates, self.options.precision)[0], batch)

    def next_valid(self, batches: Iterator[Batch]) -> Batch:
        """The next batch; the validation stream goes on from where its last one left it."""
        self._carried.advance("valid")
        return next(batches)


def fit(
    network: nn.Module, method: Method, optimiser: optim.Optimizer, course: Course, epochs: range
) -> Iterator[tuple[int, Measured, float]]:
    """Train, and after each epoch yield its number (from 0), training loss and error, and first learning rate.

    The loss is the one that is minimised: smoothed labels, auxiliary head and augmentation included.
    Raises Diverged at the first loss that is not finite, and DataError where no batch has more than one example though
    more were asked for.
    """
    options, feed = course.options, course.feed
    for epoch in epochs:
        seed_torch(feed.device, course.seed, "epoch", epoch)
        network.train()
        reset(network)
        set_drop_path(network, options.drop_path * epoch / course.horizon)
        lesson = Lesson(network, optimiser, options, course.horizon)
        batches = _valid_batches(course, epoch)
        valid = lambda lesson=lesson, batches=batches: lesson.next_valid(batches)  # noqa: E731
        yield epoch, _train_epoch(lesson, method, course, epoch, valid), learning_rate(options, epoch, course.horizon)


def _train_epoch(lesson: Lesson, method: Method, course: Course, epoch: int, valid: Valid) -> Measured:
    options, feed = course.options, course.feed
    steps = feed.steps(course.train_on, options.batch_size)
    seen, wrong, total = 0, 0, 0.0
    shuffled = feed.shuffled(course.train_on, options.batch_size, course.seed, epoch)
    for step, batch in enumerate(starmap(Batch, parallel.even(shuffled, options.batch_size))):
        own = parallel.share(batch)
        if len(own.y) == 1 < options.batch_size // group.processes():
            continue  # a left-over of one example has no batch statistics to normalise by
        course.check_time()
        # Of variable windows and of several splits there may be more batches than `steps`: none is the next epoch's.
        lesson.epochs = epoch + min(step, steps - 1) / steps
        rate = learning_rate(options, lesson.epochs, course.horizon) * feed.share(batch.x)
        set_learning_rate(lesson.optimiser, rate)
        method.step(lesson, batch, valid)
        loss, logits = loss_of(lesson.network, own, parallel.spread(method.gates()), options)
        value = parallel.mean(loss.detach()).item()
        if not math.isfinite(value):
            raise Diverged(f"training loss became {value} in epoch {epoch + 1}, step {step + 1} of {steps}")
        descend(loss, lesson.network, lesson.optimiser, options.clip_norm)
        seen, total = seen + len(own.y), total + value * len(own.y)
        wrong += int((logits.detach().argmax(1) != own.y).sum())
    if not seen:
        raise nothing_to_learn_from("+".join(course.train_on))
    lesson.epochs = epoch + 1
    parallel.average_statistics(lesson.network)
    method.finish_epoch(lesson, valid)
    all_wrong, all_seen = group.sums(wrong, seen)
    return Measured(total / seen, all_wrong / all_seen)


def descend(loss: Tensor, network: nn.Module, optimiser: optim.Optimizer, clip_norm: float) -> None:
    """One step on the weights that the loss depends on; all others keep value, momentum and decay untouched."""
    # A gradient of None is skipped by the optimiser; one of zero would still decay and move the weight.
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    parallel.average_gradients(network)
    if clip_norm > 0:
        nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimiser.step()


def loss_of(network: parallel.Network, batch: Batch, gates: Gates | None, options: Training) -> tuple[Tensor, Tensor]:
    """The scalar training loss and the logits [B, classes]; a network may return (logits, auxiliary logits)."""
    logits, auxiliary = run(network, batch.x, gates, options.precision, group=options.ghost_batch)
    loss = F.cross_entropy(logits, batch.y, label_smoothing=options.label_smoothing)
    if auxiliary is not None and options.auxiliary_weight > 0:
        extra = F.cross_entropy(auxiliary, batch.y, label_smoothing=options.label_smoothing)
        loss = loss + options.auxiliary_weight * extra
    return loss, logits


def run(
    network: parallel.Network, x: Tensor, gates: Gates | None, precision: str, *, group: int = 0
) -> tuple[Tensor, Tensor | None]:
    """Logits and auxiliary logits (or None) in float32, whatever precision the network runs in.

    With a `group`, examples pass in even groups of at least so many, and batch norms see one group at a time.
    """
    if group and len(x) >= 2 * group:
        parts = [run(network, part, gates, precision) for part in x.tensor_split(len(x) // group)]
        auxiliaries = [auxiliary for _, auxiliary in parts if auxiliary is not None]
        return torch.cat([logits for logits, _ in parts]), torch.cat(auxiliaries) if auxiliaries else None
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = network(x, gates)
    if isinstance(output, tuple):
        logits, auxiliary = output
        return logits.float(), None if auxiliary is None else auxiliary.float()
    return output.float(), None


@torch.inference_mode()
def measure(
    network: nn.Module,
    gates: Callable[[], Gates | None],
    course: Course,
    split: str,
    *,
    shared: bool = False,
    batch_size: int | None = None,
    batches: int | None = None,
) -> Measured:
    """Plain cross-entropy and error of a split in its stored order, or of its first `batches` only.

    `gates` is asked for each batch. `shared` is whether the weights are a supernet's, whose batch norms go by
    `options.shared_norm`. Raises Diverged when the loss is not finite.
    """
    network.eval()
    reset(network)
    norms = norms_of(network) if shared and course.options.shared_norm == "batch" else []
    size = batch_size or course.options.evaluation_batch_size
    seen, wrong, total = 0.0, 0.0, 0.0
    with batch_statistics(norms):
        passed = islice(course.feed.stored(split, size), batches)
        for ours, (x, y) in group.dealt(passed, sequence=hasattr(network, "carried")):
            course.check_time()
            chosen = gates()  # also for another process's batch: what is drawn must stay the same in all
            if not ours:
                continue
            logits, _ = run(network, x, chosen, course.options.precision)
            total += F.cross_entropy(logits, y, reduction="sum").item()
            wrong += int((logits.argmax(1) != y).sum())
            seen += len(y)
    total, wrong, seen = group.sums(total, wrong, seen)
    if not math.isfinite(total):
        raise Diverged(f"the loss on the {split} split became {total}")
    return Measured(total / seen, wrong / seen)


def set_drop_path(network: nn.Module, rate: float) -> None:
    """Give each part of the network that drops paths (it has a number `drop_path`) its rate for this epoch."""
    for module in network.modules():
        if isinstance(getattr(module, "drop_path", None), float):
            vars(module)["drop_path"] = rate


def _valid_batches(course: Course, epoch: int) -> Iterator[Batch]:
    """Endless validation batches; none is read before it is asked for. Raises DataError where there is none."""
    for again in range(2**31):
        found = False
        # Each pass over the split has an order of its own, told apart from the training split's by its seed.
        order = epoch * 2**20 + again
        size = course.options.batch_size
        for x, y in parallel.even(course.feed.shuffled(("valid",), size, course.seed, order), size):
            if len(y) > 1 or size == 1:  # one example has no batch statistics
                found = True
                yield Batch(x, y, "valid")
        if not found:  # nor would there be in any other pass
            raise nothing_to_learn_from("valid")
