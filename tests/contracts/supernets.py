"""A supernet under a method on a small real task, as a job has it: what the laws of methods are tried on."""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn, optim

from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.determinism import seed_torch
from spark_nas.evaluation.evaluator import build_network
from spark_nas.evaluation.feed import Batches, Feed
from spark_nas.evaluation.loop import Course, Lesson, Measured, fit
from spark_nas.evaluation.oneshot.protocol import Batch, Method, MethodOptions
from spark_nas.evaluation.text_feed import TextFeed
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.training_support import Digits

CPU = torch.device("cpu")
OPTIONS = Training(batch_size=16, evaluation_batch_size=16, learning_rate=0.05, clip_norm=0.25)
WINDOW = 5
"""Tokens of a text at a time."""
Snapshot = dict[str, Any]


@dataclass
class Search:
    """All that a job of a supernet holds."""

    space: SearchSpace
    network: nn.Module
    method: Method
    optimiser: optim.Optimizer
    course: Course

    @staticmethod
    def begin(method: MethodOptions, options: Darts | DartsRnn | NasBench201, epochs: int, seed: int = 1) -> Search:
        """On the digits or on English text, two batches an epoch."""
        space, dataset = options.build(), Text() if isinstance(options, DartsRnn) else Digits(SIZES)
        seed_torch(CPU, seed, "weights")
        network = build_network(space, SUPERNET, {}, dataset.input_shape, dataset.classes)
        seed_torch(CPU, seed, "method")
        built = method.build(space)
        optimiser = optim.SGD(network.parameters(), lr=OPTIONS.learning_rate, momentum=0.9, weight_decay=0.01)
        feed: Batches = (
            TextFeed(dataset, CPU, WINDOW) if isinstance(dataset, Text) else Feed(dataset, CPU, Augmentation())
        )
        course = Course(OPTIONS, feed, ("train",), seed=5, horizon=epochs, check_time=lambda: None)
        return Search(space, network, built, optimiser, course)

    def snapshot(self) -> Snapshot:
        """All that a checkpoint holds, copied."""
        parts = {"network": self.network, "method": self.method, "optimiser": self.optimiser}
        return {part: copy.deepcopy(dict(whole.state_dict())) for part, whole in parts.items()}

    def restore(self, state: bytes) -> None:
        """Go on from a snapshot that was saved."""
        snapshot = torch.load(io.BytesIO(state), weights_only=True)
        self.network.load_state_dict(snapshot["network"])
        self.method.load_state_dict(snapshot["method"])
        self.optimiser.load_state_dict(snapshot["optimiser"])

    def train(self, epochs: range) -> Iterator[tuple[Measured, Mapping[str, float], Snapshot]]:
        """Each epoch's measurements, the method's diagnostics and the state after it."""
        for _, measured, _ in fit(self.network, self.method, self.optimiser, self.course, epochs):
            yield measured, self.method.diagnostics(), self.snapshot()

    def lesson(self) -> Lesson:
        """What the method sees in the last epoch."""
        horizon = self.course.horizon
        return Lesson(self.network.train(), self.optimiser, OPTIONS, horizon, epochs=horizon - 1)

    def batch(self, split: str) -> Batch:
        """The first one."""
        return Batch(*next(self.course.feed.stored(split, OPTIONS.batch_size)), split)


SIZES = (("train", 2 * OPTIONS.batch_size), ("valid", 32), ("test", 16))


@dataclass(frozen=True)
class Text:
    """The letters of this project's licence, one token each, in splits of two windows."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def classes(self) -> int:
        return int(letters().max()) + 1

    def rows(self, split: str) -> int:
        return (2 * WINDOW + 1) * OPTIONS.batch_size

    def tokens(self, split: str) -> NDArray[np.int32]:
        start = ("train", "valid").index(split) * self.rows(split)
        return letters()[start : start + self.rows(split)]


@cache
def letters() -> NDArray[np.int32]:
    """The text as numbers, which nobody may write to."""
    text = (Path(__file__).resolve().parents[2] / "LICENSE").read_text(encoding="utf-8").lower()
    _, numbers = np.unique(list(text), return_inverse=True)
    tokens = numbers.astype(np.int32)
    tokens.flags.writeable = False
    return tokens


def saved(snapshot: Snapshot) -> bytes:
    """As a checkpoint holds it."""
    buffer = io.BytesIO()
    torch.save(snapshot, buffer)
    return buffer.getvalue()


def same(left: object, right: object) -> bool:
    """Whether two states are bit for bit the same."""
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right
