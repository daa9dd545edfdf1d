"""ASHA, asynchronous successive halving: Li et al. (MLSys 2020, arXiv:1810.05934), algorithm 2.

The NAS baseline of Li and Talwalkar (UAI 2019) is r = 1 epoch, R = 300 epochs, eta = 4, s = 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.schedulers.brackets import Bracket, check_resources, halving_bracket, halvings
from spark_nas.search.schedulers.promotion import PromotionBracket, PromotionRule
from spark_nas.search.schedulers.trials import Trials, take


@dataclass(frozen=True, kw_only=True)
class Asha(PromotionRule):
    """Options of ASHA; those of `PromotionRule` are among them."""

    min_resource: int = 1
    """r: the least resource worth measuring, in the evaluator's unit (epochs, unless it says otherwise)."""
    max_resource: int = 300
    """R: cumulative resource of a fully trained trial."""
    eta: int = 4
    """A trial goes on when it is among the best 1/eta of its rung."""
    early_stopping_rate: int = 0
    """s: how many of the lowest rungs are left out; the lowest is then about r * eta**s."""
    trials: int | None = None
    """How many trials are started; then only promotions follow. None goes on until the driver stops."""

    asynchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plan()

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.trials is None

    def plan(self) -> tuple[Bracket, ...]:
        """The one bracket, with the sizes its rungs tend to.

        An endless search is planned for the fewest trials of which one reaches the top.
        """
        check_resources(self.min_resource, self.max_resource, self.eta)
        if self.trials is not None and self.trials < 1:
            raise OptionError("trials", self.trials, "must be at least 1, or null for an endless search")
        most = halvings(self.min_resource, self.max_resource, self.eta)
        trials = self.eta**most if self.trials is None else self.trials
        return (
            halving_bracket(
                trials, self.min_resource, self.max_resource, self.eta, early_stopping_rate=self.early_stopping_rate
            ),
        )

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        return AshaScheduler(self, sampler, seed)


class AshaScheduler:
    """Whenever a worker asks: promote the best trial that may go on, from the top rung down; else start a new one."""

    def __init__(self, options: Asha, sampler: Sampler, seed: int) -> None:
        (plan,) = options.plan()
        self._options = options
        self._trials = Trials(sampler, seed)
        self.bracket = PromotionBracket(0, plan.resources, options.eta, options, self._trials)
        """The rungs, for reports and tests."""

    @property
    def max_resource(self) -> int:
        """R."""
        return self._options.max_resource

    @property
    def closed_rungs(self) -> int:
        """How many rungs, from the bottom, are final; 0 while new trials may start."""
        return self.bracket.close() if self._all_started else 0

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs: promotions first."""
        return take(self._next, limit)

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        self._trials.settle(result)
        self.bracket.report(result)

    def needed(self) -> set[JobKey]:
        """All that may be promoted: of an endless search every trial that has not been, as its rung may yet grow."""
        needed = self._trials.needed()
        ended = self._trials.exhausted or (self._all_started and not self._trials.flying)
        if self._over or (ended and not self.bracket.ready):
            return needed
        return needed | self.bracket.needed(math.inf if self._options.trials is None else self._options.trials)

    @property
    def _over(self) -> bool:
        return self._options.stop_at_first and self.bracket.completed > 0

    @property
    def _all_started(self) -> bool:
        return self._options.trials is not None and self.bracket.started >= self._options.trials

    def _next(self) -> Job | None:
        if self._over:
            return None
        job = self.bracket.promote()
        return job if job is not None or self._all_started else self.bracket.start()
