"""The values that samplers, schedulers, engines, evaluators and stores hand one another.

All are frozen and checked on construction, so a wrong one cannot exist.

- A **trial** is one architecture with one recipe and one seed.
- A **job** trains one trial "until `resource` units in all" and ends there: its **rung**.
- A **result** is what came of a job. A failed result has no usable loss, but still counts.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

from spark_nas.spaces.core import SUPERNET, Architecture

RecipeValue = int | float | str | bool
Recipe = Mapping[str, RecipeValue]
Status = Literal["completed", "failed", "lost"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class JobKey(NamedTuple):
    """The identity of a job within a run, and of the checkpoint it leaves."""

    trial_id: int
    rung: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a sampler wants tried next."""

    architecture: Architecture
    recipe: Recipe = field(default_factory=dict)
    start_from: JobKey | None = None
    """A completed job of another trial whose checkpoint this one inherits (morphisms, PBT)."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One architecture with one recipe and one seed."""

    trial_id: int
    """Numbered from 0 in the order of asking."""
    architecture: Architecture
    recipe: Recipe = field(default_factory=dict)
    seed: int = 1
    """All randomness of its training: a function of the experiment's seed and `trial_id` (`derive_seed`)."""
    bracket: int = 0

    def __post_init__(self) -> None:
        if self.trial_id < 0:
            raise ValueError(f"trial_id must be at least 0, got {self.trial_id}")
        if self.bracket < 0:
            raise ValueError(f"bracket must be at least 0, got {self.bracket}")
        object.__setattr__(self, "recipe", MappingProxyType(dict(sorted(self.recipe.items()))))

    def __reduce__(self) -> tuple[type[Trial], tuple[object, ...]]:
        return Trial, (self.trial_id, self.architecture, dict(self.recipe), self.seed, self.bracket)

    def __hash__(self) -> int:
        return hash(self.trial_id)


@dataclass(frozen=True, slots=True)
class Job:
    """Train `trial` until it has had `resource` units in all, starting from a checkpoint or from scratch."""

    trial: Trial
    rung: int
    resource: int
    """Cumulative, in the evaluator's unit (epochs, unless it says otherwise)."""
    start_from: JobKey | None = None
    """A completed job whose checkpoint this one continues; None trains from scratch."""

    def __post_init__(self) -> None:
        if self.rung < 0:
            raise ValueError(f"rung must be at least 0, got {self.rung}")
        if self.resource < 0:
            raise ValueError(f"resource must be at least 0, got {self.resource}")
        if self.start_from == self.key:
            raise ValueError(f"job {tuple(self.key)} cannot start from itself")

    @property
    def key(self) -> JobKey:
        """Unique within a run."""
        return JobKey(self.trial.trial_id, self.rung)


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """The measurements after one unit of resource."""

    resource: int
    loss: float
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluator returns for a job that went well; `engines.task` makes a `Result` of it."""

    loss: float
    """The objective at the job's resource; lower is better."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    """One point a unit of resource trained *by this job*, in order; left out, what the workspace was reported."""
    derived: tuple[Architecture, ...] = ()
    """What a supernet proposes; empty for ordinary training."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a job. `status` decides, never a special loss value.

    `lost` means that the worker vanished: the driver submits the job again and no scheduler ever sees it.
    """

    job: Job
    status: Status
    loss: float = math.nan
    metrics: Mapping[str, float] = field(default_factory=dict)
    curve: tuple[CurvePoint, ...] = ()
    derived: tuple[Architecture, ...] = ()
    error: str | None = None
    """One line that says why, then the tail of the traceback; None for a completed job."""
    started_at: datetime = _EPOCH
    seconds: float = 0.0
    executor: str = ""
    """Where it ran: `host/pid`, with `/gpu-address` where there is one; empty where no worker has come back to say."""
    attempt: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)
    """Versions and devices of the process that ran it."""

    def __post_init__(self) -> None:
        if self.status == "completed" and self.error is not None:
            raise ValueError("a completed result has no error")
        if self.status != "completed" and not self.error:
            raise ValueError(f"a {self.status} result must say why")
        if self.started_at.tzinfo is None:
            raise ValueError("started_at must carry a time zone (UTC)")

    @property
    def usable(self) -> bool:
        """Whether the loss may be ranked: completed, and finite."""
        return self.status == "completed" and math.isfinite(self.loss)

    @property
    def supernet(self) -> bool:
        """Whether choices were open: its loss is that of many networks, and it is no candidate itself."""
        return self.metrics.get("open_choices", 0) > 0


def incumbent(results: Iterable[Result]) -> Result | None:
    """The best usable result at the highest resource that any usable result has; the earlier trial wins a tie.

    Supernets are none: what they were trained for are the architectures scored with their weights.
    """
    return min((result for result in results if result.usable and not result.supernet), key=best_first, default=None)


def best_first(result: Result) -> tuple[bool, int, int, float, int]:
    """What results are sorted by: supernets last, then the highest resource, the least loss, the earlier trial."""
    job = result.job
    # Scores with shared weights train nothing; a higher rung has seen more of the validation split.
    rung = -job.rung if job.resource == 0 else 0
    return result.supernet, -job.resource, rung, result.loss, job.trial.trial_id


def derive_seed(*parts: int | str) -> int:
    """A positive 31-bit seed from any identity, the same in every process and version of Python."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % (2**31 - 2) + 1


__all__ = [
    "SUPERNET",
    "Architecture",
    "CurvePoint",
    "Job",
    "JobKey",
    "Outcome",
    "Proposal",
    "Recipe",
    "RecipeValue",
    "Result",
    "Status",
    "Trial",
    "best_first",
    "derive_seed",
    "incumbent",
]
