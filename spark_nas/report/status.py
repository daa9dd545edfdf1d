"""Where a run stands, counted from its rows one at a time: nothing is kept but the counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from spark_nas.report.leaderboard import describe_architecture, describe_recipe
from spark_nas.search.records import JobKey, Result, incumbent

State = Literal["running", "stopped", "done", "unclear"]
_REASONS = 3
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Level:
    """What became of the jobs that trained to the same resource: a rung, as one sees it across brackets."""

    resource: int
    completed: int
    failed: int
    promoted: int
    """Jobs that another one has continued from."""
    best: float | None


@dataclass(frozen=True)
class Best:
    """The incumbent."""

    trial: int
    loss: float
    resource: int
    metrics: Mapping[str, float]
    architecture: str
    recipe: str


@dataclass(frozen=True)
class Driver:
    """Who has the run, or had it last; what the lease says."""

    holder: str
    last_seen: datetime
    valid_until: datetime
    alive: bool
    ended_in_order: bool


@dataclass(frozen=True)
class Status:
    """All that is known of a run from its folder alone. Times are UTC."""

    run_id: str
    experiment: str
    state: State
    driver: Driver | None
    """None where no driver has ever held the run."""
    created_at: str
    rows: int
    completed: int
    failed: int
    """Also those that completed with a loss that is not finite."""
    in_flight: int
    """Jobs handed out before the last row was written and not yet told; newer ones are not in the store."""
    epochs: int
    best: Best | None
    levels: tuple[Level, ...]
    first_start: datetime | None
    last_result: datetime | None
    executors: Mapping[str, int]
    """Jobs by executor, the busiest first."""
    failures: tuple[tuple[str, int], ...]
    """The most frequent reasons."""
    files: int
    bytes: int
    """Of the results table."""

    @property
    def last_activity(self) -> datetime | None:
        """The last sign of life: a result, or a driver that renewed its lease."""
        times = [self.last_result, self.driver.last_seen if self.driver else None]
        return max((time for time in times if time is not None), default=None)

    def as_json(self) -> dict[str, Any]:
        """For programs: times in ISO 8601, numbers that JSON does not have as null."""
        return {**_plain(asdict(self)), "last_activity": _plain(self.last_activity)}


@dataclass
class Tally:
    """Counts rows as they come, in the order of the table."""

    rows: int = 0
    completed: int = 0
    asked: int = 0
    epochs: int = 0
    best: Result | None = None
    first_start: datetime | None = None
    last_result: datetime | None = None
    executors: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    _reached: dict[JobKey, int] = field(default_factory=dict)
    _levels: dict[int, list[Any]] = field(default_factory=dict)

    def add(self, result: Result, asked: int) -> None:
        """Count one row."""
        job = result.job
        self.rows += 1
        self.asked = max(self.asked, asked)
        level = self._levels.setdefault(job.resource, [0, 0, 0, None])
        start = self._reached.get(job.start_from) if job.start_from is not None else None
        if start is not None:
            self._levels[start][2] += 1
        if result.status == "completed":
            self.epochs += max(0, job.resource - (start or 0))
            self._reached[job.key] = job.resource
        else:
            self.epochs += len(result.curve)
        if not result.usable:
            level[1] += 1
            self.failures[_reason(result)] += 1
        else:
            self.completed += 1
            level[0] += 1
            level[3] = result.loss if level[3] is None else min(level[3], result.loss)
            self.best = incumbent([result] if self.best is None else [self.best, result])
        self.executors[result.executor] += 1
        self._time(result)

    def _time(self, result: Result) -> None:
        begin = result.started_at
        # A damaged duration must not end in an overflow.
        end = begin + timedelta(seconds=result.seconds) if 0 <= result.seconds < 1e9 else begin
        self.first_start = begin if self.first_start is None else min(self.first_start, begin)
        self.last_result = end if self.last_result is None else max(self.last_result, end)

    def status(
        self,
        record: Mapping[str, Any],
        *,
        experiment: str,
        state: State,
        driver: Driver | None,
        files: int,
        size: int,
    ) -> Status:
        """The status of the run with this record, as far as it is counted."""
        return Status(
            run_id=record["run_id"],
            experiment=experiment,
            state=state,
            driver=driver,
            created_at=str(record.get("created_at", "")),
            rows=self.rows,
            completed=self.completed,
            failed=self.rows - self.completed,
            in_flight=max(0, self.asked - self.rows),
            epochs=self.epochs,
            best=_best(self.best),
            levels=tuple(Level(resource, *counts) for resource, counts in sorted(self._levels.items())),
            first_start=self.first_start,
            last_result=self.last_result,
            executors=dict(self.executors.most_common()),
            failures=tuple(self.failures.most_common(_REASONS)),
            files=files,
            bytes=size,
        )


def _best(result: Result | None) -> Best | None:
    if result is None:
        return None
    trial = result.job.trial
    return Best(
        trial=trial.trial_id,
        loss=result.loss,
        resource=result.job.resource,
        metrics=dict(result.metrics),
        architecture=describe_architecture(trial),
        recipe=describe_recipe(trial),
    )


def _reason(result: Result) -> str:
    """The first line of the error: what a thousand failures of one kind have in common."""
    lines = (result.error or "").splitlines()
    return lines[0][:_LONGEST_REASON] if lines else "its loss is not finite"


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a dataclass holds
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds")
    return None if isinstance(value, float) and not math.isfinite(value) else value
