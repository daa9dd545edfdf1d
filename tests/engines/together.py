"""Evaluators that two processes run together, for the tests of engines. By value: executors have no `tests`."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyspark import cloudpickle

from spark_nas.evaluation import group
from spark_nas.search.protocols import Peers, Workspace
from spark_nas.search.records import SUPERNET, Architecture, Job, Outcome, Trial

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def supernet(trial_id: int = 0) -> Job:
    """A job that several processes train."""
    return Job(Trial(trial_id, SUPERNET), 0, 2)


def waiting(trial_id: int, file: Path) -> Job:
    """A job of one process, until there is a file."""
    return Job(Trial(trial_id, Architecture({"wait for": str(file)})), 0, 2)


@dataclass(frozen=True)
class Together:
    """Adds up what every process brings, after it has done what it was told to; another job waits for a file."""

    what: str = "sum"
    folder: str = ""
    """Where each process leaves a file named by its number, with its process id."""

    def join(self, device: str) -> AbstractContextManager[Peers]:
        return group.join(torch.device(device))

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if job.trial.architecture:
            while not os.path.exists(job.trial.architecture["wait for"]):
                time.sleep(0.01)
            return Outcome(0.5)
        rank = int(os.environ.get("RANK", "0"))
        if self.folder:
            Path(self.folder, str(rank)).write_text(str(os.getpid()))
        if self.what == "follower raises" and rank == 1:
            raise ValueError("this share is too large")
        if self.what == "follower finds the network down" and rank == 1:
            raise ConnectionResetError("no route")
        if self.what == "leader raises" and rank == 0:
            raise ValueError("no leader")
        if self.what == "forever":
            while True:
                time.sleep(0.05)
        (total,) = group.sums(10.0**rank)
        workspace.keep(lambda: b"kept")
        workspace.save(b"%d" % total + (group.from_first(workspace.load()) or b""))
        return Outcome(total, {"threads": float(workspace.threads)})


@dataclass(frozen=True)
class Mortal:
    """An evaluator whose second process is killed, the first time that it is to train."""

    inner: Any
    marker: str
    """A file that is there once it has happened."""

    def join(self, device: str) -> AbstractContextManager[Peers]:
        joined: AbstractContextManager[Peers] = self.inner.join(device)
        return joined

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if os.environ.get("RANK") == "1" and group.grouped() and not os.path.exists(self.marker):
            Path(self.marker).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        outcome: Outcome = self.inner.evaluate(job, workspace)
        return outcome
