"""A small real data set and network for the tests of training, and what runs a pickled job in another process."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import nn

from spark_nas.errors import DataError
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.oneshot.protocol import Gates
from spark_nas.evaluation.training import Training
from spark_nas.search.records import Architecture, CurvePoint, Job, JobKey, Recipe, Trial, derive_seed
from spark_nas.spaces.core import IndependentChoices, SearchSpace

SPACE = IndependentChoices("small", ())


@dataclass(frozen=True)
class Digits:
    """scikit-learn's digits, 8x8 grey images, in memory: `train`, `valid`, `test` of the given sizes."""

    sizes: tuple[tuple[str, int], ...] = (("train", 256), ("valid", 200), ("test", 200))
    flat: bool = False
    """Whether an example is a vector of 64 pixels."""
    passes: list[str] = field(default_factory=list)
    """The splits that were passed over, in order."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return (64,) if self.flat else (1, 8, 8)

    @property
    def classes(self) -> int:
        return 10

    @property
    def mean(self) -> tuple[float, ...]:
        return tuple(self._of_channels().mean(axis=(0, 2)).tolist())

    @property
    def std(self) -> tuple[float, ...]:
        return tuple(self._of_channels().std(axis=(0, 2)).tolist())

    def rows(self, split: str) -> int:
        if split not in dict(self.sizes):
            raise DataError(f"no split {split!r}")
        return dict(self.sizes)[split]

    def batches(
        self, split: str, batch_size: int, *, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[NDArray[np.generic], NDArray[np.int64]]]:
        self.passes.append(split)
        x, y = self._arrays(split)
        order = np.arange(len(y))
        if seed is not None:
            np.random.default_rng(derive_seed(seed, split, epoch)).shuffle(order)
        for start in range(0, len(y), batch_size):
            rows = order[start : start + batch_size]
            yield x[rows], y[rows]

    def _arrays(self, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        pixels, labels = _digits()
        names = [name for name, _ in self.sizes]
        start = sum(size for _, size in self.sizes[: names.index(split)])
        rows = slice(start, start + self.rows(split))
        return pixels[rows].reshape(-1, *self.input_shape), labels[rows]

    def _of_channels(self) -> NDArray[np.float64]:
        x, _ = self._arrays("train")
        return x.astype(np.float64).reshape(len(x), self.input_shape[0], -1)


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All 1,797 digits in a seeded order: pixels [N, 64] and labels [N], which nobody may write to."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    pixels, labels = digits.data[order].astype(np.uint8), digits.target[order].astype(np.int64)
    pixels.flags.writeable = labels.flags.writeable = False
    return pixels, labels


class SmallNetwork(nn.Module):
    """A convolution with batch norm and dropout, and a linear head: all that a resume can get wrong."""

    def __init__(self, input_shape: tuple[int, ...], classes: int, dropout: float, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(dropout),
        )
        self.head = nn.Linear(channels * input_shape[1] * input_shape[2] // 4, classes)

    def forward(self, x_BCHW: torch.Tensor, gates: Gates | None = None) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.body(x_BCHW))
        return logits


def small_network(
    space: SearchSpace, architecture: Architecture, recipe: Recipe, input_shape: tuple[int, ...], classes: int
) -> nn.Module:
    """The builder of `SmallNetwork`: the recipe may set `dropout` and `channels`."""
    return SmallNetwork(input_shape, classes, float(recipe.get("dropout", 0.2)), int(recipe.get("channels", 8)))


@dataclass
class MemoryWorkspace:
    """A workspace that keeps its checkpoints in memory; with `keeps`, a recovery checkpoint of every epoch."""

    checkpoint: bytes | None = None
    saved: bytes | None = None
    on_check: Callable[[], None] = lambda: None
    device: str = "cpu"
    threads: int = 1
    keeps: bool = False
    kept: list[bytes] = field(default_factory=list)
    source: str | None = None
    """What `origin` says of the checkpoint."""
    curve: list[CurvePoint] = field(default_factory=list)
    """What was reported."""

    def load(self) -> bytes | None:
        return self.checkpoint

    def origin(self) -> str | None:
        return self.source

    def save(self, checkpoint: bytes) -> None:
        self.saved = checkpoint

    def recover(self) -> bytes | None:
        return self.kept[-1] if self.kept else None

    def keep(self, state: Callable[[], bytes]) -> None:
        if self.keeps:
            self.kept.append(state())

    def report(self, point: CurvePoint) -> None:
        self.curve.append(point)

    def check_time(self) -> None:
        self.on_check()


def evaluator(options: Training, dataset: Digits | None = None, max_resource: int = 4) -> TrainingEvaluator:
    """The evaluator of a search over the small network."""
    return TrainingEvaluator(SPACE, options, dataset or Digits(), max_resource, network_builder=small_network)


def job(resource: int, rung: int = 0, seed: int = 7, recipe: Recipe | None = None) -> Job:
    """Trial 0 up to `resource` epochs, from the rung before."""
    trial = Trial(0, Architecture(), recipe or {}, seed)
    return Job(trial, rung, resource, JobKey(0, rung - 1) if rung else None)


def main() -> None:
    """Unpickle a list of (evaluator, job, checkpoint) from the first file named, run them, pickle the answers."""
    answers = []
    for task, given, checkpoint in pickle.loads(Path(sys.argv[1]).read_bytes()):
        workspace = MemoryWorkspace(checkpoint)
        answers.append((task.evaluate(given, workspace), workspace.saved))
    Path(sys.argv[2]).write_bytes(pickle.dumps(answers))
