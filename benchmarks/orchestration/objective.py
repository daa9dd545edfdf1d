"""What every contestant optimises, and the log that every process keeps of it. Standard library only.

A configuration is three numbers (a, b, c); after r epochs its loss is a + b·r^-c. An epoch sleeps. How long, and so how
much work there is, depends on the configuration and the epoch alone, never on who runs it.

The log is the only source of what is measured: no contestant's own account is believed. Each process appends to a file
of its own, a line when an epoch starts and one when it has ended, by one `write` each, so that a killed one leaves its
start behind. The clock is the machine's monotonic one, which all processes share.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

LOG = "log"
"""The folder of the log, below that of the run."""
SPACE = {"a": (0.1, 1.0), "b": (0.1, 1.0), "c": (0.3, 1.5)}
"""Uniform bounds of a configuration."""


@dataclass(frozen=True)
class Workload:
    """What is to be done."""

    name: str
    trials: int
    workers: int
    seconds: float
    """Of sleep in an epoch, before stragglers; 0 does nothing at all."""
    spread: float = 0.0
    """An epoch takes exp(N(0, spread)) times as long."""
    max_resource: int = 1
    """R, epochs. With 1 a trial is one epoch, and there is nothing to stop early."""
    eta: int = 3

    @property
    def early_stopping(self) -> bool:
        """Whether this is a search by ASHA (r = 1) rather than a row of whole trials."""
        return self.max_resource > 1

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Configuration:
    """One point of the space."""

    a: float
    b: float
    c: float

    @property
    def identity(self) -> str:
        """The same in every process, whatever number a contestant gives the trial."""
        return hashlib.blake2s(repr((self.a, self.b, self.c)).encode(), digest_size=8).hexdigest()

    def loss(self, epochs: int) -> float:
        """After so many epochs in all."""
        return float(self.a + self.b * epochs**-self.c)

    def seconds(self, workload: Workload, epoch: int) -> float:
        """How long an epoch (from 1) sleeps."""
        if not workload.seconds or not workload.spread:
            return workload.seconds
        return workload.seconds * Random(f"{self.identity} {epoch}").lognormvariate(0.0, workload.spread)


def draw(number: int) -> Configuration:
    """The configuration number `number` of a random search, for contestants that have no sampler."""
    rng = Random(f"configuration {number}")
    return Configuration(*(rng.uniform(*bounds) for bounds in SPACE.values()))


def train_epoch(workload: Workload, folder: str | Path, configuration: Configuration, epoch: int) -> float:
    """Run one epoch (from 1), log it, and return the loss after it."""
    identity, seconds = configuration.identity, configuration.seconds(workload, epoch)
    file = _file(str(folder), os.getpid())
    os.write(file, f"S {identity} {epoch} {time.monotonic_ns()}\n".encode())
    if seconds:
        time.sleep(seconds)
    loss = configuration.loss(epoch)
    os.write(file, f"E {identity} {epoch} {time.monotonic_ns()} {seconds!r} {loss!r}\n".encode())
    return loss


def train(workload: Workload, folder: str | Path, configuration: Configuration) -> float:
    """All epochs of a trial that nobody stops; the final loss."""
    losses = [train_epoch(workload, folder, configuration, epoch) for epoch in epochs(workload)]
    return losses[-1]


def epochs(workload: Workload) -> Iterator[int]:
    """1..R."""
    return iter(range(1, workload.max_resource + 1))


@lru_cache(maxsize=4)
def _file(folder: str, pid: int) -> int:
    """The log of this process; `pid` is an argument so that a forked child opens its own."""
    place = Path(folder, LOG)
    place.mkdir(parents=True, exist_ok=True)
    return os.open(place / str(pid), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
