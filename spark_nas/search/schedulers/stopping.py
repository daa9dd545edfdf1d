"""The stopping variant of ASHA, as far as it can be said in jobs.

Ray Tune's `AsyncHyperBandScheduler` (named ASHA there) decides at each milestone whether a *running* trial goes on:
iff it is among the best 1/eta of those that have reached it. A job here ends at its rung, so
"goes on" is a new job that starts from the checkpoint, issued before any new trial. What a stopped trial loses is
the second chance that promotion gives it when the rung grows; what the variant cannot have is a decision inside a
job. The paper's algorithm is `Asha`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import ClassVar, Literal

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.search.schedulers.brackets import Bracket, check_resources, halving_bracket, halvings
from spark_nas.search.schedulers.rungs import Rung, usable_loss
from spark_nas.search.schedulers.trials import Trials, take


@dataclass(frozen=True, kw_only=True)
class StoppingAsha:
    """Options of the stopping variant."""

    min_resource: int = 1
    """r: the first milestone, in the evaluator's unit (epochs, unless it says otherwise)."""
    max_resource: int = 300
    """R: cumulative resource of a fully trained trial."""
    eta: int = 4
    """A trial goes on when it is among the best 1/eta that have reached its milestone so far."""
    early_stopping_rate: int = 0
    """s: how many of the lowest milestones are left out."""
    trials: int | None = None
    """How many trials are started. None goes on until the driver stops."""
    first_arrivals: Literal["stop", "continue"] = "stop"
    """What happens to the first eta - 1 trials at a milestone, which nothing can be said about: the analogue of
    the paper stops them; Ray Tune lets them go on."""

    asynchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.trials is not None and self.trials < 1:
            raise OptionError("trials", self.trials, "must be at least 1, or null for an endless search")
        if self.first_arrivals not in ("stop", "continue"):
            raise OptionError("first_arrivals", self.first_arrivals, "must be stop or continue")
        self.plan()

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.trials is None

    def plan(self) -> tuple[Bracket, ...]:
        """The one bracket, with the sizes its rungs would have if a trial went on with probability 1/eta."""
        check_resources(self.min_resource, self.max_resource, self.eta)
        fewest = self.eta ** halvings(self.min_resource, self.max_resource, self.eta)
        return (
            halving_bracket(
                self.trials or fewest,
                self.min_resource,
                self.max_resource,
                self.eta,
                early_stopping_rate=self.early_stopping_rate,
            ),
        )

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        return StoppingAshaScheduler(self, sampler, seed)


class StoppingAshaScheduler:
    """Decides once about each trial at each milestone, when its result arrives."""

    def __init__(self, options: StoppingAsha, sampler: Sampler, seed: int) -> None:
        (plan,) = options.plan()
        self._options = options
        self._trials = Trials(sampler, seed)
        self._resources = plan.resources
        self.rungs = [Rung(options.eta) for _ in plan.resources]
        """The milestones, for reports and tests."""
        self._going_on: deque[tuple[Trial, int]] = deque()

    @property
    def max_resource(self) -> int:
        """R."""
        return self._options.max_resource

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs: trials that go on, in the order of their results, then new ones."""
        return take(self._next, limit)

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        self._trials.settle(result)
        trial, k = result.job.trial, result.job.rung
        rung = self.rungs[k]
        goes_on = rung.add(trial, usable_loss(result))
        rung.let_go()
        if rung.size < self._options.eta:
            goes_on = result.usable and self._options.first_arrivals == "continue"
        if goes_on and k < len(self.rungs) - 1:
            rung.promote(trial)
            self._going_on.append((trial, k + 1))

    def needed(self) -> set[JobKey]:
        """Those of the trials that go on: all others were stopped for good."""
        return self._trials.needed() | {JobKey(trial.trial_id, k - 1) for trial, k in self._going_on}

    def _next(self) -> Job | None:
        if self._going_on:
            trial, k = self._going_on.popleft()
            return self._trials.promote(trial, k, self._resources[k])
        if self._options.trials is not None and self._trials.started >= self._options.trials:
            return None
        return self._trials.start(self._resources[0])
