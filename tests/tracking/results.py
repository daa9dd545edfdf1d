"""Results as a search would have them, for the tests of trackers."""

from __future__ import annotations

from datetime import UTC, datetime

from spark_nas.search.records import Architecture, CurvePoint, Job, JobKey, Result, Trial
from spark_nas.tracking.tracked import Tracked

BEGAN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RECORD = {"created_at": "2026-01-02", "experiment": {"scheduler": {"name": "asha", "eta": 3}, "seed": 7}}


def result(trial: int = 0, rung: int = 0, resource: int = 1, *, error: str | None = None, **recipe: object) -> Result:
    """Trained from where the rung before ended, or from nothing."""
    start = 0 if rung == 0 else resource // 3
    curve = tuple(
        CurvePoint(step, 1 / step + trial, {"accuracy": 0.1 * step}) for step in range(start + 1, resource + 1)
    )
    return Result(
        Job(
            Trial(trial, Architecture({"edge 0": "skip"}), {"learning_rate": 0.5, **recipe}, seed=3, bracket=2),
            rung,
            resource,
            JobKey(trial, rung - 1) if rung else None,
        ),
        "failed" if error else "completed",
        **({"error": error} if error else {"loss": curve[-1].loss, "metrics": {"parameters": 12.0}}),
        curve=curve,
        started_at=BEGAN,
        seconds=2.5,
    )


def tracked(location: str = "/runs/first", page: str | None = "<p>report</p>", **record: object) -> Tracked:
    return Tracked("first", location, {**RECORD, **record}, lambda: page)
