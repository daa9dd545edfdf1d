"""Syne Tune on its local back end: a process for each trial, as it always does. Random search, or its (stopping) ASHA.

The tuner looks for results 50 times a second; its default, every 5 seconds, would make this no contest.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from syne_tune import StoppingCriterion, Tuner
from syne_tune.backend import LocalBackend
from syne_tune.config_space import uniform
from syne_tune.optimizer.baselines import ASHA, RandomSearch

from benchmarks.orchestration.objective import SPACE, Workload

TICK = 0.02


def search(workload: Workload, folder: Path) -> None:
    """Run the tuner until as many trials have been started as there should be, and have ended."""
    os.environ["SYNETUNE_FOLDER"] = str(folder / "out")
    os.environ["ORCHESTRATION"] = json.dumps({"workload": workload.as_dict(), "folder": str(folder)})
    space = {name: uniform(*bounds) for name, bounds in SPACE.items()}
    if workload.early_stopping:
        scheduler = ASHA(
            space,
            metric="loss",
            time_attr="epoch",
            max_t=workload.max_resource,
            reduction_factor=workload.eta,
            random_seed=1,
        )
    else:
        scheduler = RandomSearch(space, metrics=["loss"], random_seed=1)
    tuner = Tuner(
        trial_backend=LocalBackend(str(Path(__file__).with_name("syne_trial.py"))),
        scheduler=scheduler,
        # "stop once more than this number have been started"
        stop_criterion=StoppingCriterion(max_num_trials_started=workload.trials - 1),
        wait_trial_completion_when_stopping=True,
        n_workers=workload.workers,
        sleep_time=TICK,
        tuner_name="orchestration",
        suffix_tuner_name=False,
    )
    tuner.run()
