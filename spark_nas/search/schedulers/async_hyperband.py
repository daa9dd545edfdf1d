"""Asynchronous Hyperband: Li et al. (MLSys 2020), section 3.2: ASHA in several brackets at once.

Every bracket has rungs of its own; a rule says in which bracket a new trial starts. Promotions never wait for
that rule (except in `smallest_floor`, which picks the bracket before anything else): the brackets are scanned
from the most aggressive one, each from its top rung down.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from random import Random
from typing import ClassVar, Literal

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import Job, JobKey, Result, derive_seed
from spark_nas.search.schedulers.brackets import (
    Bracket,
    Mode,
    adaptive_rungs,
    budget_shares,
    budget_weight,
    check_resources,
    first_rung,
    halvings,
    rung_resources,
    rung_sizes,
)
from spark_nas.search.schedulers.promotion import PromotionBracket, PromotionRule
from spark_nas.search.schedulers.trials import Trials, take

Allocation = Literal["shares", "proportional", "round_robin", "smallest_floor", "exponential"]


@dataclass(frozen=True, kw_only=True)
class AsynchronousHyperband(PromotionRule):
    """Options of asynchronous Hyperband; those of `PromotionRule` are among them."""

    min_resource: int = 1
    """r: the least resource worth measuring, in the evaluator's unit (epochs, unless it says otherwise)."""
    max_resource: int = 300
    """R: cumulative resource of a fully trained trial."""
    eta: int = 4
    """A trial goes on when it is among the best 1/eta of its rung."""
    trials: int | None = None
    """How many trials are started in all brackets together. None goes on until the driver stops."""
    mode: Mode = "conservative"
    """Which brackets: `conservative` all of Hyperband's, `standard` the aggressive half, `aggressive` one."""
    max_rungs: int | None = None
    """The most rungs a bracket may have; None means as many as the resources and the number of trials allow."""
    allocation: Allocation = "shares"
    """In which bracket a new trial starts. `shares`: numbers of trials in proportion to eta**(rungs - 1) / rungs,
    so that all brackets spend about the same (Determined). `proportional`: at random, in proportion to
    Hyperband's n. `round_robin`: where the least resource was spent so far. `smallest_floor`: where
    floor(fully trained * rungs / most rungs) is smallest (the UAI 2019 code). `exponential`: at random, in
    proportion to e**rungs (Orion)."""

    asynchronous: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_resources(self.min_resource, self.max_resource, self.eta)
        if self.trials is not None and self.trials < 1:
            raise OptionError("trials", self.trials, "must be at least 1, or null for an endless search")
        if self.max_rungs is not None and self.max_rungs < 1:
            raise OptionError("max_rungs", self.max_rungs, "must be at least 1, or null for as many as possible")
        if self.mode not in ("aggressive", "standard", "conservative"):
            raise OptionError("mode", self.mode, "must be aggressive, standard or conservative")
        if self.allocation not in ("shares", "proportional", "round_robin", "smallest_floor", "exponential"):
            raise OptionError(
                "allocation",
                self.allocation,
                "must be shares, proportional, round_robin, smallest_floor or exponential",
            )

    def rungs(self) -> tuple[int, ...]:
        """Numbers of rungs of the brackets, most aggressive first.

        Capped at log_eta(R / r) + 1, and at log_eta(trials) + 1 where their number is given: more rungs than
        that nobody could climb.
        """
        most = halvings(self.min_resource, self.max_resource, self.eta) + 1
        if self.trials is not None:
            most = min(most, halvings(1, self.trials, self.eta) + 1)
        return adaptive_rungs(min(most, self.max_rungs or most), self.mode)

    def weights(self) -> tuple[Fraction, ...]:
        """How many new trials each bracket gets, relative to one another; equal where that is decided on the go."""
        rungs = self.rungs()
        if self.allocation == "shares":
            return tuple(budget_weight(each, self.eta) for each in rungs)
        if self.allocation == "proportional":
            return tuple(Fraction(first_rung(each - 1, rungs[0] - 1, self.eta)) for each in rungs)
        if self.allocation == "exponential":
            return tuple(Fraction(math.exp(each)) for each in rungs)
        return tuple(Fraction(1) for _ in rungs)

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.trials is None

    def plan(self) -> tuple[Bracket, ...]:
        """The brackets, most aggressive first, with the sizes their rungs tend to.

        Exact for `shares`, else for trials split by the expected shares (by `weights`). An endless search is
        planned for Hyperband's numbers of trials.
        """
        rungs = self.rungs()
        if self.trials is None:
            trials = tuple(first_rung(each - 1, rungs[0] - 1, self.eta) for each in rungs)
        elif self.allocation == "shares":
            trials = budget_shares(self.trials, rungs, self.eta)
        else:
            weights = self.weights()
            trials = tuple(round(self.trials * weight / sum(weights)) for weight in weights)
        return tuple(
            Bracket(k - 1, rung_sizes(n, self.eta, k - 1), rung_resources(self.max_resource, self.eta, k - 1))
            for k, n in zip(rungs, trials, strict=True)
        )

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        return AsynchronousHyperbandScheduler(self, sampler, seed)


class AsynchronousHyperbandScheduler:
    """Promotes in any bracket; else starts a trial in the bracket that the allocation picks.

    `Trial.bracket` counts the brackets from 0, the most aggressive one.
    """

    def __init__(self, options: AsynchronousHyperband, sampler: Sampler, seed: int) -> None:
        self._options = options
        self._seed = seed
        self._trials = Trials(sampler, seed)
        self._weights = options.weights()
        self._quotas = budget_shares(options.trials, options.rungs(), options.eta) if options.trials else None
        self._spent = [0] * len(self._weights)
        self._known_progress: list[tuple[int, Fraction]] = [(-1, Fraction(0))] * len(self._weights)
        """For each bracket, a number of trials started and its `_progress` then: one alone changes between asks."""
        self.brackets = [
            PromotionBracket(
                number, rung_resources(options.max_resource, options.eta, rungs - 1), options.eta, options, self._trials
            )
            for number, rungs in enumerate(options.rungs())
        ]
        """The brackets with their rungs, for reports and tests."""

    @property
    def max_resource(self) -> int:
        """R."""
        return self._options.max_resource

    @property
    def closed_rungs(self) -> tuple[int, ...]:
        """Of each bracket, how many rungs from the bottom are final; 0 while new trials may start."""
        return tuple(bracket.close() if self._all_started else 0 for bracket in self.brackets)

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs."""
        return take(self._next, limit)

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        self._trials.settle(result)
        self.brackets[result.job.trial.bracket].report(result)

    def needed(self) -> set[JobKey]:
        """All that may be promoted in any bracket, each of which may get the trials not begun yet."""
        needed = self._trials.needed()
        ended = self._trials.exhausted or (self._all_started and not self._trials.flying)
        if self._over or (ended and not any(bracket.ready for bracket in self.brackets)):
            return needed
        more = math.inf if self._options.trials is None else self._options.trials - self._trials.started
        return needed.union(*(bracket.needed(bracket.started + more) for bracket in self.brackets))

    @property
    def _over(self) -> bool:
        return self._options.stop_at_first and any(bracket.completed for bracket in self.brackets)

    @property
    def _all_started(self) -> bool:
        return self._options.trials is not None and self._trials.started >= self._options.trials

    def _next(self) -> Job | None:
        if self._over:
            return None
        first = self._pick() if self._options.allocation == "smallest_floor" else None
        job = self._from_bracket(first) if first is not None else None
        if job is None:
            job = next((job for bracket in self.brackets if (job := bracket.promote())), None)
        if job is None and not self._all_started:
            job = self.brackets[self._pick()].start()
        if job is not None:
            below = self.brackets[job.trial.bracket].resources[job.rung - 1] if job.rung else 0
            self._spent[job.trial.bracket] += job.resource - below
        return job

    def _from_bracket(self, number: int) -> Job | None:
        bracket = self.brackets[number]
        return bracket.promote() or (None if self._all_started else bracket.start())

    def _pick(self) -> int:
        """The bracket of the next trial; asking twice changes nothing. Ties go to the more aggressive bracket."""
        numbers = range(len(self.brackets))
        allocation = self._options.allocation
        if allocation == "shares":
            return min(numbers, key=self._progress)
        if allocation == "round_robin":
            return min(numbers, key=self._spent.__getitem__)
        if allocation == "smallest_floor":
            return min(numbers, key=self._floor)
        rng = Random(derive_seed(self._seed, "bracket", self._trials.started))
        return rng.choices(numbers, [float(weight) for weight in self._weights])[0]

    def _progress(self, number: int) -> Fraction:
        """How far a bracket is with its share; a share of none is complete from the start."""
        started = self.brackets[number].started
        if self._known_progress[number][0] != started:
            share = self._weights[number] if self._quotas is None else Fraction(self._quotas[number])
            self._known_progress[number] = started, Fraction(started) / share if share else Fraction(1)
        return self._known_progress[number][1]

    def _floor(self, number: int) -> int:
        bracket = self.brackets[number]
        return bracket.completed * len(bracket.rungs) // len(self.brackets[0].rungs)
