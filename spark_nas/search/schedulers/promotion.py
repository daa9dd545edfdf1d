"""Asynchronous halving of one bracket by promotion: what ASHA and asynchronous Hyperband have in common.

Li et al. (MLSys 2020), algorithm 2. The implementations by its authors and others differ in details; each is a
field of `PromotionRule`, whose defaults are the paper's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from spark_nas.errors import OptionError
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.search.schedulers.rungs import Rung, best_loss, usable_loss
from spark_nas.search.schedulers.trials import Trials


@dataclass(frozen=True, kw_only=True)
class PromotionRule:
    """Which trial goes on, and when that is decided."""

    value: Literal["last", "best"] = "last"
    """What a rung ranks by: the loss at its resource, or the best measured so far (the UAI 2019 code)."""
    failures: Literal["worst", "exclude"] = "worst"
    """Whether failed trials count in their rung, as the worst, or not at all (the UAI 2019 code)."""
    min_rung_size: int = 1
    """Reports a rung must hold before anything is promoted from it; fewer than eta promote nothing anyhow."""
    decision: Literal["pull", "push"] = "pull"
    """`pull` decides when a worker asks, as the paper. `push` decides when a result arrives (Determined): the
    newcomer if it is among the best floor(n / eta), else, if that number just grew, the trial at the cut. Other than
    there a failed trial is not promoted, to fail at once one rung up, and a worker that is free starts a new trial
    whatever its number: how many run is the engine's."""
    stop_at_first: bool = False
    """Whether the search is over as soon as one trial has completed the top rung (Orion)."""

    def __post_init__(self) -> None:
        if self.value not in ("last", "best"):
            raise OptionError("value", self.value, "must be last or best")
        if self.failures not in ("worst", "exclude"):
            raise OptionError("failures", self.failures, "must be worst or exclude")
        if self.decision not in ("pull", "push"):
            raise OptionError("decision", self.decision, "must be pull or push")
        if self.min_rung_size < 1:
            raise OptionError("min_rung_size", self.min_rung_size, "must be at least 1")


class PromotionBracket:
    """The rungs of one bracket, and who of them goes on.

    Laws, at every moment: a promoted trial was among the best floor(n / eta) of its rung when it was promoted;
    with `pull`, when `promote` answers None, no rung has an unpromoted usable trial among its best
    floor(n / eta); reports at rung k + 1 and jobs running there are together the promoted of rung k.
    """

    def __init__(self, number: int, resources: tuple[int, ...], eta: int, rule: PromotionRule, trials: Trials) -> None:
        self.number = number
        self.resources = resources
        self.rungs = [Rung(eta, rule.min_rung_size) for _ in resources]
        self.running = [0] * len(resources)
        """Jobs in flight at each rung."""
        self.started = 0
        """Trials begun at rung 0."""
        self.completed = 0
        """Trials that have completed the top rung."""
        self._rule = rule
        self._trials = trials
        self._pushed: deque[tuple[Trial, int]] = deque()
        self._best_so_far: dict[int, float] = {}

    def start(self) -> Job | None:
        """The first job of a new trial; None while the sampler has nothing to propose."""
        job = self._trials.start(self.resources[0], self.number)
        if job is not None:
            self.started += 1
            self.running[0] += 1
        return job

    def promote(self) -> Job | None:
        """The next promotion, looking from the top rung down; None when no trial may go on now."""
        if self._rule.decision == "push":
            return self._issue(*self._pushed.popleft()) if self._pushed else None
        for k in range(len(self.rungs) - 2, -1, -1):
            trial = self.rungs[k].promotable()
            if trial is not None:
                self.rungs[k].promote(trial)
                return self._issue(trial, k + 1)
        return None

    def report(self, result: Result) -> None:
        """Take in a result of one of this bracket's jobs."""
        trial, k = result.job.trial, result.job.rung
        self.running[k] -= 1
        if k == len(self.rungs) - 1:
            self.completed += result.usable
        if self._rule.failures == "exclude" and not result.usable:
            return
        rung = self.rungs[k]
        quota = rung.quota
        among_best = rung.add(trial, self._loss(result))
        if self._rule.decision == "push" and k < len(self.rungs) - 1 and rung.size >= self._rule.min_rung_size:
            chosen = trial if among_best else rung.at_the_cut() if rung.quota > quota else None
            if chosen is not None:
                rung.promote(chosen)
                self._pushed.append((chosen, k + 1))

    def close(self) -> int:
        """How many rungs, from the bottom, are final once no new trial will start: nothing can join them.

        A rung is final when those below are, nothing runs in it, and nothing waits to be promoted into it. The
        trials of a final rung that were not promoted never will be, unless they still are promotable now; they
        are let go.
        """
        for k, rung in enumerate(self.rungs):
            if self.running[k] or any(target == k for _, target in self._pushed):
                return k
            if self._rule.decision == "pull" and k < len(self.rungs) - 1 and rung.promotable() is not None:
                return k + 1
            rung.let_go()
        return len(self.rungs)

    @property
    def ready(self) -> bool:
        """Whether `promote` has a job to give."""
        return bool(self._pushed) or (
            self._rule.decision == "pull" and any(rung.promotable() is not None for rung in self.rungs[:-1])
        )

    def needed(self, most: float) -> set[JobKey]:
        """Checkpoints that promotions may still start from, if no more than `most` trials are ever begun here."""
        needed = {JobKey(trial.trial_id, k - 1) for trial, k in self._pushed}
        coming = most - self.rungs[0].size
        """Reports that rung k may still get: from the running, from the promoted, from whoever may be."""
        for k, rung in enumerate(self.rungs[:-1]):
            contenders = rung.contenders(rung.size + coming)
            needed.update(JobKey(trial.trial_id, k) for trial in contenders)
            pushed = sum(target == k + 1 for _, target in self._pushed)
            coming += self.running[k + 1] + pushed + len(contenders)
        return needed

    def _loss(self, result: Result) -> float:
        if self._rule.value == "last":
            return usable_loss(result)
        number = result.job.trial.trial_id
        self._best_so_far[number] = best_loss(result, self._best_so_far.get(number, float("inf")))
        return self._best_so_far[number]

    def _issue(self, trial: Trial, rung: int) -> Job:
        self.running[rung] += 1
        return self._trials.promote(trial, rung, self.resources[rung])
