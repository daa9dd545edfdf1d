"""NePS: processes that share a folder, each calling `neps.run`, as documented. Random search, or what it calls ASHA.

It counts evaluations, not configurations: under ASHA it gets half as many again as there are to be configurations,
which is what a schedule that promotes one in three comes to.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

import neps
import numpy as np
import torch

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, train_epoch


def search(workload: Workload, folder: Path) -> None:
    """Run the workers; one that dies at the start, as some do, is missed by nobody unless all do."""
    context = get_context("fork")
    workers = [context.Process(target=_work, args=(workload, folder, number)) for number in range(workload.workers)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    codes = [worker.exitcode for worker in workers]
    print(f"NePS: workers ended with {codes}")
    if all(codes):
        raise RuntimeError("every worker failed")


def _work(workload: Workload, folder: Path, number: int) -> None:
    logging.disable(logging.WARNING)
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    torch.set_num_threads(1)

    class Space(neps.PipelineSpace):
        """Filled below: its dimensions are those of the benchmark."""

    dimensions: dict[str, object] = {name: neps.Float(*bounds) for name, bounds in SPACE.items()}
    if workload.early_stopping:
        dimensions["epochs"] = neps.IntegerFidelity(1, workload.max_resource)
    for name, dimension in dimensions.items():
        setattr(Space, name, dimension)

    def evaluate(
        pipeline_directory: Path, previous_pipeline_directory: Path | None, epochs: int = 1, **values: float
    ) -> Mapping[str, float] | float:
        configuration = Configuration(*(float(values[name]) for name in SPACE))
        done = int((previous_pipeline_directory / "epochs").read_text()) if previous_pipeline_directory else 0
        loss = 0.0
        for epoch in range(done + 1, epochs + 1):
            loss = train_epoch(workload, folder, configuration, epoch)
        if workload.early_stopping:
            (pipeline_directory / "epochs").write_text(str(epochs))
        return loss

    neps.run(
        evaluate_pipeline=evaluate,
        pipeline_space=Space(),
        root_directory=folder / "out",
        optimizer=("asha", {"eta": workload.eta}) if workload.early_stopping else "random_search",
        total_evaluations_to_spend=workload.trials * 3 // 2 if workload.early_stopping else workload.trials,
    )
