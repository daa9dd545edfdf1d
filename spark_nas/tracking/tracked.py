"""What a tracker is told of a search, and the names under which it shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from spark_nas.search.records import JobKey, RecipeValue, Result, Trial, best_first

Ending = Literal["finished", "stopped", "failed"]
"""How a search ended: at its end, before it (the same command continues), or with an error."""


@dataclass(frozen=True)
class Tracked:
    """A search, as a tracker sees it beside its results."""

    run_id: str
    location: str
    """The run's folder, or its URI."""
    record: Mapping[str, Any]
    """`run.json`."""
    page: Callable[[], str | None]
    """Makes the report page as it stands now; None where its packages are not installed."""

    @property
    def identity(self) -> str:
        """One search among all: the same run id elsewhere, or begun anew at the same place, is another one."""
        parts = (self.run_id, self.location, str(self.record.get("created_at")))
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


class Best(NamedTuple):
    """A new best result of the search."""

    loss: float
    results: int
    """How many results there were then, itself included: the same however often the search is continued."""
    instant: float
    """When it came, in seconds since 1970."""


class Sink(Protocol):
    """Where a tracker writes to. All methods are called by one thread, which is not the search's; all may raise."""

    name: str
    """What messages call it, without secrets."""

    def open(self) -> None:
        """Connect, and find what an earlier invocation has left there. Called again after it has raised."""
        ...

    def write(self, results: Sequence[Result]) -> None:
        """Add results of one trial, by rung; those that are there already stay as they are."""
        ...

    def improve(self, bests: Sequence[Best]) -> None:
        """Add new best results, in order; those that are there already stay as they are."""
        ...

    def has(self, key: JobKey) -> bool:
        """Whether a job's result is there."""
        ...

    def finish(self, ending: Ending) -> None:
        """The search is over."""
        ...


def parameters(trial: Trial) -> dict[str, RecipeValue]:
    """Recipe, architecture, bracket and seed of a trial, under names that sort together."""
    return {
        "bracket": trial.bracket,
        "seed": trial.seed,
        **{f"recipe.{name}": value for name, value in trial.recipe.items()},
        **{f"architecture.{choice}": option for choice, option in trial.architecture.items()},
    }


def measurements(result: Result) -> Iterator[tuple[str, float, int]]:
    """(name, value, step) of all that was measured, each once: the curve, and what only the job as a whole has.

    Steps are units of resource. A failed job may have a curve, and has no loss of its own.
    """
    seen = set()
    for point in result.curve:
        for name, value in {**point.metrics, "loss": point.loss}.items():
            seen.add((name, point.resource))
            yield name, value, point.resource
    last, whole = result.job.resource, {**result.metrics, "seconds": result.seconds}
    if result.status == "completed":
        whole["loss"] = result.loss
    for name, value in whole.items():
        if (name, last) not in seen:
            yield name, value, last


class Incumbent:
    """The best result so far, by the order of `best_first`; supernets are no candidates."""

    def __init__(self) -> None:
        self._results = 0
        self._best: Result | None = None

    def told(self, result: Result) -> Best | None:
        """What this result is as the new best; None if it is none."""
        self._results += 1
        if not result.usable or result.supernet:
            return None
        if self._best is not None and best_first(result) >= best_first(self._best):
            return None
        self._best = result
        return Best(result.loss, self._results, instant(result))


def instant(result: Result) -> float:
    """When a result came, in seconds since 1970: the same whenever it is asked for."""
    return result.started_at.timestamp() + result.seconds
