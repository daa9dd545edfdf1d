"""Evaluators and jobs for the tests of engines. Pickled by value, as executors have no `tests` package."""

from __future__ import annotations

import os
import signal
import sys
import time

from pyspark import cloudpickle

from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, JobKey, Outcome, Trial
from spark_nas.spaces.core import Architecture

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def job(trial_id: int, rung: int = 0, what: str = "sum") -> Job:
    """Rung r trains to 3 ** r and starts from rung r - 1."""
    start = JobKey(trial_id, rung - 1) if rung else None
    return Job(Trial(trial_id, Architecture({"do": what}), {"lr": 0.1 * trial_id}), rung, 3**rung, start)


class Probe:
    """Does what the job's architecture says; its "training" counts on from the checkpoint it starts from."""

    def __init__(self, label: str = "") -> None:
        self.label = label  # evaluators that are equal byte for byte share one copy in a worker
        self.evaluations = 0

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        self.evaluations += 1
        what = job.trial.architecture["do"]
        if what == "raise":
            raise ValueError("no such thing\nsecond line")
        if what == "memory":
            raise MemoryError
        if what == "exit":
            sys.exit(3)
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "slow":
            time.sleep(1.5)
        if what.startswith("wait for "):
            while not os.path.exists(what.removeprefix("wait for ")):
                time.sleep(0.01)
        if what == "forever":
            while True:
                time.sleep(0.01)
                workspace.check_time()
        before = int((workspace.load() or b"0").decode())
        workspace.save(str(before + job.resource).encode())
        metrics = {"trained": before + job.resource, "threads": workspace.threads, "nth": self.evaluations}
        return Outcome(job.trial.trial_id / 7, metrics)
