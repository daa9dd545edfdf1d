"""Hyperopt's SparkTrials: a Spark job for each trial, random search. It has no early stopping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hyperopt import SparkTrials, fmin, hp, rand

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, train
from benchmarks.orchestration.rivals.spark_itself import local_session


def search(workload: Workload, folder: Path) -> None:
    """Run it."""
    session = local_session(workload.workers)
    fmin(
        lambda values: train(workload, folder, Configuration(*(float(values[name]) for name in SPACE))),
        {name: hp.uniform(name, *bounds) for name, bounds in SPACE.items()},
        algo=rand.suggest,
        max_evals=workload.trials,
        trials=SparkTrials(parallelism=workload.workers, spark_session=session),
        rstate=np.random.default_rng(1),
        show_progressbar=False,
    )
    session.stop()
