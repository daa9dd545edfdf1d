"""Brackets carried out in rounds: what successive halving and Hyperband have in common.

Li et al. (MLSys 2020), section 3.1 and appendix: synchronous successive halving on parallel workers. A rung
closes when all its jobs are back; then the best go on. Idle workers wait, or open the next bracket (`overlap`),
as BOHB does (Falkner, Klein and Hutter, ICML 2018).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush

from spark_nas.search.protocols import Sampler
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.search.schedulers.brackets import Bracket
from spark_nas.search.schedulers.rungs import ranked, usable_loss
from spark_nas.search.schedulers.trials import Trials, take


class OpenBracket:
    """A bracket under way: which of its rungs is running, what came back, and who goes on.

    Laws: rung i + 1 holds the best n_{i+1} usable trials of rung i, or all of them where fewer are usable; who
    they are, and in which order they are queued, does not depend on the order in which results came.
    """

    def __init__(self, plan: Bracket) -> None:
        self.plan = plan
        self.started = 0
        """Trials begun at rung 0."""
        self.queue: deque[Trial] = deque()
        """Promoted to `rung` but not issued yet, best first."""
        self.rung = 0
        self._sizes = plan.sizes
        self._expected = plan.sizes[0]
        self._results: list[tuple[float, Trial]] = []
        self.finished = False

    @property
    def sampling(self) -> bool:
        """Whether rung 0 still wants trials."""
        return self.rung == 0 and self.started < self._expected

    def seal(self, eta: int) -> bool:
        """Make do with the trials begun so far, because the sampler has no more.

        The rungs shrink as they would for that number, but never to nothing while a trial is usable: the
        bracket still ends in a fully trained one. Whether that closed the rung.
        """
        self._expected = self.started
        self._sizes = tuple(max(1, self.started // eta**i) for i in range(self.plan.s + 1))
        return self._close_if_complete()

    def report(self, result: Result) -> bool:
        """Take in a result of the running rung; whether it was the last one, which closes the rung."""
        self._results.append((usable_loss(result), result.job.trial))
        return self._close_if_complete()

    def needed(self) -> set[JobKey]:
        """Checkpoints of those who go on, and of those who may when the running rung closes."""
        waiting = {JobKey(trial.trial_id, self.rung - 1) for trial in self.queue}
        if self.rung == self.plan.s:
            return waiting
        return waiting | {JobKey(trial.trial_id, self.rung) for loss, trial in self._results if loss < math.inf}

    def _close_if_complete(self) -> bool:
        if len(self._results) < self._expected:
            return False
        survivors = ranked(self._results) if self.rung < self.plan.s else []
        self.rung += 1
        self.queue.extend(survivors[: self._sizes[self.rung]] if survivors else ())
        self._expected = len(self.queue)
        self._results.clear()
        self.finished = not self.queue
        return True


class RoundsScheduler:
    """Carries out brackets one after the other, or overlapping where workers would idle.

    A job comes from the oldest bracket that has promoted trials waiting; else a new trial starts in the newest
    bracket; else, if brackets may overlap or none is open, the next one opens. `Trial.bracket` is the running
    number of its bracket, from 0. When the sampler has no more to propose and nothing flies, the newest
    bracket closes with the trials it has.
    """

    def __init__(
        self, plans: Iterator[Bracket], sampler: Sampler, seed: int, *, max_resource: int, eta: int, overlap: bool
    ) -> None:
        self._plans = plans
        self._trials = Trials(sampler, seed)
        self._max_resource = max_resource
        self._eta = eta
        self._overlap = overlap
        self._open: dict[int, OpenBracket] = {}
        self._newest = -1
        self._ready: list[int] = []
        """Numbers of the brackets whose queue is not empty: a heap."""

    @property
    def max_resource(self) -> int:
        """R."""
        return self._max_resource

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs; none while a rung waits for its last results."""
        return take(self._next, limit)

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        self._trials.settle(result)
        number = result.job.trial.bracket
        if self._open[number].report(result):
            self._after_closing(number)

    def needed(self) -> set[JobKey]:
        """Checkpoints of the open brackets; a closed rung's losers are not among them."""
        return self._trials.needed().union(*(bracket.needed() for bracket in self._open.values()))

    def _next(self) -> Job | None:
        while True:
            job = self._promoted() or self._new()
            if job is not None:
                return job
            if not (self._open_next() or self._seal_newest()):
                return None

    def _promoted(self) -> Job | None:
        if not self._ready:
            return None
        bracket = self._open[self._ready[0]]
        trial = bracket.queue.popleft()
        if not bracket.queue:
            heappop(self._ready)
        return self._trials.promote(trial, bracket.rung, bracket.plan.resources[bracket.rung])

    def _new(self) -> Job | None:
        bracket = self._open.get(self._newest)
        if bracket is None or not bracket.sampling:
            return None
        job = self._trials.start(bracket.plan.resources[0], self._newest)
        bracket.started += job is not None
        return job

    def _open_next(self) -> bool:
        if self._trials.dry or (self._open and not self._overlap):
            return False
        plan = next(self._plans, None)
        if plan is None:
            return False
        self._newest += 1
        self._open[self._newest] = OpenBracket(plan)
        return True

    def _seal_newest(self) -> bool:
        bracket = self._open.get(self._newest)
        if self._trials.flying or bracket is None or not bracket.sampling:
            return False
        bracket.seal(self._eta)  # nothing flies, so all its results are there, and this closes the rung
        self._after_closing(self._newest)
        return True

    def _after_closing(self, number: int) -> None:
        if self._open[number].finished:
            del self._open[number]
        else:
            heappush(self._ready, number)
