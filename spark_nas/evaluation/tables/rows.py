"""A table of learning curves, one row a configuration, as a `CurveSource`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_nas.search.records import CurvePoint, Trial
from spark_nas.spaces.table import ROW


@dataclass(frozen=True, eq=False)
class CurveTable:
    """Curves over resources 1..R of N configurations; a trial's architecture names its row."""

    losses: NDArray[np.floating]
    """[N, R]: the objective, lower is better; a loss that is not finite marks a diverged training."""
    metrics: Mapping[str, NDArray[np.floating]]
    """Each [N, R]."""
    cumulative_seconds: NDArray[np.floating] | None = None
    """[N, R]; None takes one second a unit."""

    @property
    def rows(self) -> int:
        """N."""
        return int(self.losses.shape[0])

    def resources(self) -> range:
        """1..R."""
        return range(1, self.losses.shape[1] + 1)

    def point(self, trial: Trial, resource: int) -> CurvePoint:
        """The measurements of the trial's row after `resource` units."""
        at = int(trial.architecture[ROW]), resource - 1
        return CurvePoint(
            resource, float(self.losses[at]), {n: float(values[at]) for n, values in self.metrics.items()}
        )

    def seconds(self, trial: Trial, resource: int) -> float:
        """Seconds from scratch."""
        if self.cumulative_seconds is None:
            return float(resource)
        return float(self.cumulative_seconds[int(trial.architecture[ROW]), resource - 1])
