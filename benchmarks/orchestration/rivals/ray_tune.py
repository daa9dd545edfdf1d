"""Ray Tune on a local cluster, with reused actors (its quicker way): random search, or its (stopping) ASHA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, train_epoch


class Trial(tune.Trainable):
    """An epoch a step."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a configuration."""
        self._workload, self._folder = Workload(**config["workload"]), config["folder"]
        self._configuration = Configuration(*(float(config[name]) for name in SPACE))

    def step(self) -> dict[str, float]:
        """Train an epoch."""
        return {"loss": train_epoch(self._workload, self._folder, self._configuration, self.iteration + 1)}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take another configuration: what makes reuse possible."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save: its ASHA never resumes."""

    def load_checkpoint(self, checkpoint: Any) -> None:  # noqa: ANN401
        """Nothing to load."""


def search(workload: Workload, folder: Path) -> None:
    """Start Ray and run it."""
    ray.init(num_cpus=workload.workers, include_dashboard=False, log_to_driver=False)
    scheduler = FIFOScheduler()
    if workload.early_stopping:
        scheduler = ASHAScheduler(
            max_t=workload.max_resource, grace_period=1, reduction_factor=workload.eta, time_attr="training_iteration"
        )
    space = {name: tune.uniform(*bounds) for name, bounds in SPACE.items()}
    tuner = tune.Tuner(
        tune.with_resources(Trial, {"cpu": 1}),
        param_space={**space, "workload": workload.as_dict(), "folder": str(folder)},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=workload.trials,
            scheduler=scheduler,
            max_concurrent_trials=workload.workers,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            name="orchestration",
            storage_path=str(folder / "out"),
            stop={"training_iteration": workload.max_resource},
            verbose=0,
        ),
    )
    tuner.fit()
    ray.shutdown()
