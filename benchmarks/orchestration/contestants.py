"""Who takes part: the tool, its environment, and how much of each workload it can do in bearable time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from benchmarks.orchestration.objective import Workload

WORKLOADS: Mapping[str, Workload] = {
    w.name: w
    for w in (
        Workload("noop-2", 200, 2, 0.0),
        Workload("50ms-2", 200, 2, 0.05),
        Workload("50ms-8", 200, 8, 0.05),
        Workload("50ms-16", 200, 16, 0.05),
        Workload("50ms-8-long", 800, 8, 0.05),
        Workload("asha-8", 200, 8, 0.01, spread=0.5, max_resource=81, eta=3),
    )
}


@dataclass(frozen=True)
class Contestant:
    """One row of the tables."""

    name: str
    title: str
    module: str
    """Of `benchmarks.orchestration.rivals`."""
    environment: str | None = None
    """The name of its requirements file; None runs in the environment of this repository."""
    settings: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    spark: bool = False
    trials: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Fewer trials than the workload has, where it would take minutes otherwise."""
    only: tuple[str, ...] = ()
    """The workloads it takes part in; empty for all but the long one."""
    refuses: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Workloads it has no way to do, with the reason."""
    rival: bool = True
    home: str = "out"
    """Where it writes, below the folder of the run."""

    def takes_part(self, workload: str) -> bool:
        """Whether there is a row of it."""
        return workload in self.only if self.only else workload != "50ms-8-long"


_SLOW = {"noop-2": 40, "50ms-2": 40, "50ms-8": 40, "50ms-16": 40}

CONTESTANTS: Mapping[str, Contestant] = {
    c.name: c
    for c in (
        Contestant("pool", "a bare process pool: the limit", "process_pool", rival=False),
        Contestant("ours", "**spark_nas**", "ours", spark=True, rival=False, home="out/run"),
        Contestant(
            "ours-no-channel",
            "**spark_nas**, `channel: off`",
            "ours",
            settings={"channel": "off"},
            spark=True,
            rival=False,
            home="out/run",
            only=tuple(WORKLOADS),
        ),
        Contestant("optuna", "Optuna, journal file", "optuna_journal", "optuna"),
        Contestant("ray", "Ray Tune, actors reused", "ray_tune", "ray"),
        Contestant("neps", "NePS", "neps_asha", "neps"),
        Contestant("syne-tune", "Syne Tune", "syne", "syne-tune", trials={**_SLOW, "asha-8": 60}),
        Contestant(
            "hyperopt",
            "Hyperopt SparkTrials",
            "spark_trials",
            "hyperopt",
            spark=True,
            trials=_SLOW,
            refuses={"asha-8": "it has no early stopping"},
        ),
        Contestant(
            "mlflow",
            "MLflow's Spark study",
            "mlflow_spark",
            "mlflow",
            spark=True,
            trials={**_SLOW, "asha-8": 40},
        ),
    )
}


def requirements(environment: str) -> Path:
    """Its pinned versions."""
    return Path(__file__).parents[1] / f"requirements-{environment}.txt"
