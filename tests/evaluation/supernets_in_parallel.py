"""What each of two processes does in the tests of training together: supernets that no batch norm makes differ."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spark_nas.evaluation import parallel
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.determinism import seed_torch
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.feed import Feed
from spark_nas.evaluation.group import Peers
from spark_nas.evaluation.loop import Course, Measured, fit, measure
from spark_nas.evaluation.networks.mixed import mixed
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Method, MethodOptions
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET, Architecture, Job, JobKey, Outcome, Recipe, Trial
from spark_nas.spaces.core import Choice, IndependentChoices, SearchSpace
from tests.evaluation.training_support import Digits, MemoryWorkspace

CPU = torch.device("cpu")
SPACE = IndependentChoices("two", (Choice("first", ("a", "b", "none")), Choice("second", ("a", "b", "none"))))
SIZES = (("train", 48), ("valid", 40))
OPTIONS = Training(batch_size=16, evaluation_batch_size=16, learning_rate=0.1, momentum=0.9, clip_norm=1.0)
State = dict[str, object]


class Layers(nn.Module):
    """Two open choices of a layer, each beside the identity; without batch norm."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 8)
        self.choices = nn.ModuleList(mixed(choice, architecture, _option) for choice in SPACE.choices)
        self.head = nn.Linear(8, 10)

    def forward(self, x_BF: Tensor, gates: Gates | None = None) -> Tensor:
        x_BH = self.stem(x_BF)
        for choice in self.choices:
            x_BH = x_BH + choice(x_BH, gates).tanh()
        logits: Tensor = self.head(x_BH)
        return logits


def _option(name: str) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), nn.Tanh()) if name != "none" else nn.Hardtanh(-1e-3, 1e-3)


def layers(
    space: SearchSpace, architecture: Architecture, recipe: Recipe, input_shape: tuple[int, ...], classes: int
) -> nn.Module:
    """The builder of `Layers`."""
    return Layers(architecture)


def searched(
    peers: Peers | None, options: MethodOptions, epochs: int = 1, seed: int = 3
) -> tuple[State, list[Measured], dict[str, Tensor | None]]:
    """A search's state, the measurements of its epochs and of the validation split, the gradients of its last step."""
    seed_torch(CPU, 1)
    network = Layers(SUPERNET)
    method = options.build(SPACE)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    course = Course(OPTIONS, Feed(Digits(SIZES, flat=True), CPU, Augmentation()), ("train",), seed, 4, lambda: None)
    measured = [found for _, found, _ in fit(network, method, optimiser, course, range(epochs))]
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    measured.append(measure(network, method.evaluation_gates, course, "valid"))
    state = {"network": network.state_dict(), "method": method.state_dict(), "numbers": dict(method.diagnostics())}
    return state, measured, gradients


def job(epochs: int, start: int | None = None) -> Job:
    """A supernet's, from what the job of rung 0 has left or from scratch."""
    rung = 0 if start is None else 1
    return Job(Trial(0, SUPERNET, {}, seed=5), rung, epochs, None if start is None else JobKey(0, 0))


def evaluated(
    peers: Peers | None, method: MethodOptions, given: Job, checkpoint: bytes | None, kept: bytes | None = None
) -> tuple[Outcome, bytes | None, list[bytes]]:
    """The outcome of a job, its checkpoint and recovery checkpoints; what it begins with, the first process has."""
    first = peers is None or peers.rank == 0
    workspace = MemoryWorkspace(checkpoint if first else b"not this", keeps=True)
    workspace.kept += [kept] if kept is not None and first else []
    evaluator = TrainingEvaluator(SPACE, OPTIONS, Digits(SIZES, flat=True), 4, network_builder=layers, method=method)
    return evaluator.evaluate(given, workspace), workspace.saved, workspace.kept


class Apart(Method):
    """Runs another path in each process, which no method may."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank = rank

    def gates(self) -> Gates:
        return {"first": {"ab"[self.rank]: 1.0}, "second": {"a": 1.0}}


def gone_apart(peers: Peers) -> None:
    """Train by `Apart`."""
    course = Course(OPTIONS, Feed(Digits(SIZES, flat=True), CPU, Augmentation()), ("train",), 3, 4, lambda: None)
    network = Layers(SUPERNET)
    list(fit(network, Apart(peers.rank), torch.optim.SGD(network.parameters(), lr=0.1), course, range(1)))


def left_alone(peers: Peers) -> None:
    """The first process trains; the other one fails before it has begun."""
    if peers.rank == 1:
        raise MemoryError
    parallel.mean(torch.ones(()))


def of_texts(peers: Peers | None) -> list[Tensor]:
    """The answers to a batch of text, put together, and the gradient of the loss they make by the weights."""
    seed_torch(CPU, 1)
    weight = torch.randn(7, 7, requires_grad=True)
    tokens = torch.randint(7, (5, 4))
    batch = Batch(tokens, torch.randint(7, (20,)))
    network = nn.Embedding.from_pretrained(weight, freeze=False)
    run, _ = parallel.replicas(_Flat(network), None)
    logits = parallel.gather(run(parallel.share(batch).x, None), batch)
    loss = nn.functional.cross_entropy(logits, batch.y)
    (gradient,) = torch.autograd.grad(loss, network.weight)
    return [logits.detach(), gradient]


class _Flat(nn.Module):
    """The answer to each token [T * B, C], time first."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x_TB: Tensor, gates: Gates | None) -> Tensor:
        logits: Tensor = self.inner(x_TB).flatten(0, 1)
        return logits
