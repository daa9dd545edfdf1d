"""Full training: every trial gets the whole resource at once. With the random sampler this is random search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.schedulers.brackets import Bracket
from spark_nas.search.schedulers.trials import Trials, take


@dataclass(frozen=True)
class FullTraining:
    """Options of full training."""

    trials: int | None
    """How many; None goes on until the sampler or the driver stops."""
    max_resource: int
    """R: cumulative resource of each trial, in the evaluator's unit (epochs, unless it says otherwise)."""

    asynchronous: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise OptionError("trials", self.trials, "must be at least 1, or null for an endless search")
        if self.max_resource < 0:
            raise OptionError("max_resource", self.max_resource, "must not be negative")

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.trials is None

    def plan(self) -> tuple[Bracket, ...]:
        """One bracket of one rung; an endless search is planned as one trial."""
        return (Bracket(0, (self.trials or 1,), (self.max_resource,)),)

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        return FullTrainingScheduler(self, sampler, seed)


class FullTrainingScheduler:
    """Starts trials; never promotes."""

    def __init__(self, options: FullTraining, sampler: Sampler, seed: int) -> None:
        self._options = options
        self._trials = Trials(sampler, seed)

    @property
    def max_resource(self) -> int:
        """R."""
        return self._options.max_resource

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` new trials."""
        return take(self._next, limit)

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        self._trials.settle(result)

    def needed(self) -> set[JobKey]:
        """What the sampler inherits; nothing is promoted."""
        return self._trials.needed()

    def _next(self) -> Job | None:
        if self._options.trials is not None and self._trials.started >= self._options.trials:
            return None
        return self._trials.start(self.max_resource)
