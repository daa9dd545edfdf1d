"""Rungs that stay sorted: what ASHA must know of one is answered in O(log n), without a sort per question.

Li et al. (MLSys 2020), algorithm 2: a trial may be promoted when it is among the best floor(n / eta) of its rung
and has not been promoted yet. The best unpromoted trial is promotable iff it is no worse than the last of those
floor(n / eta). So three heaps do: the best floor(n / eta) with the worst of them on top, all the others with
the best of them on top, and the unpromoted ones. As n only grows, so does floor(n / eta), by one at a time, and
a report moves at most two elements between the first two heaps.

Order: by loss, then by arrival. A failed trial counts in n, comes last, and is never promoted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from heapq import heappop, heappush, heappushpop, nsmallest

from spark_nas.search.records import Result, Trial

Entry = tuple[float, int, Trial]
"""Loss, arrival, trial: ordered by the first two, as no two arrivals are equal."""


class Rung:
    """What has been reported at one rung of one bracket.

    >>> from spark_nas.search.records import SUPERNET
    >>> rung = Rung(eta=2)
    >>> [rung.add(Trial(i, SUPERNET), loss) for i, loss in enumerate([0.3, 0.1, 0.2])]
    [False, True, False]
    >>> rung.promotable().trial_id
    1
    """

    def __init__(self, eta: int, min_size: int = 1) -> None:
        self._eta = eta
        self._min_size = min_size
        self._best: list[Entry] = []
        """The best `quota`, with loss and arrival negated: a heap, the worst of them on top."""
        self._others: list[Entry] = []
        """All others: a heap, the best of them on top."""
        self._waiting: list[Entry] = []
        """The unpromoted with a usable loss: a heap, whose top alone is rid of promoted ones."""
        self.promoted: set[int] = set()
        """Numbers of the trials that have gone on."""
        self.size = 0
        """n: reports so far, failed ones among them."""

    @property
    def quota(self) -> int:
        """floor(n / eta): how many are good enough to go on."""
        return len(self._best)

    def add(self, trial: Trial, loss: float) -> bool:
        """Take in a report (an infinite loss for a failed one); whether it may go on, at this moment."""
        entry = (loss, self.size, trial)
        self.size += 1
        if self._best and _key(entry) < self._cut():
            entry = _negated(heappushpop(self._best, _negated(entry)))
        heappush(self._others, entry)
        if self.size % self._eta == 0:
            heappush(self._best, _negated(heappop(self._others)))
        if not loss < math.inf:
            return False
        entry = (loss, self.size - 1, trial)
        heappush(self._waiting, entry)
        return bool(self._best) and _key(entry) <= self._cut()

    def promotable(self) -> Trial | None:
        """The best unpromoted trial, if it is among the best `quota`; it stays unpromoted."""
        if not self._best or self.size < self._min_size:
            return None
        while self._waiting and self._waiting[0][2].trial_id in self.promoted:
            heappop(self._waiting)
        if self._waiting and _key(self._waiting[0]) <= self._cut():
            return self._waiting[0][2]
        return None

    def at_the_cut(self) -> Trial | None:
        """The worst of the best `quota`, if it is usable and unpromoted."""
        if not self._best:
            return None
        loss, _, trial = self._best[0]
        return trial if loss > -math.inf and trial.trial_id not in self.promoted else None

    def promote(self, trial: Trial) -> None:
        """Note that a trial goes on."""
        self.promoted.add(trial.trial_id)

    def contenders(self, most: float) -> list[Trial]:
        """The unpromoted trials that may still go on if the rung will never hold more than `most` reports.

        A trial's place among the reports only ever gets worse, and never more than floor(most / eta) are good enough.
        """
        entries = [*map(_negated, self._best), *self._others]
        if math.isfinite(most):
            entries = nsmallest(int(most) // self._eta, entries, key=_key)
        return [t for loss, _, t in entries if loss < math.inf and t.trial_id not in self.promoted]

    def let_go(self) -> None:
        """Forget the trials that wait: nothing can be promoted from here any more."""
        self._waiting.clear()

    def _cut(self) -> tuple[float, int]:
        loss, arrival, _ = self._best[0]
        return -loss, -arrival


def _key(entry: Entry) -> tuple[float, int]:
    return entry[:2]


def _negated(entry: Entry) -> Entry:
    loss, arrival, trial = entry
    return -loss, -arrival, trial


def usable_loss(result: Result) -> float:
    """The loss a rung sorts by: infinite for a failed or non-finite result, so that NaN is never compared."""
    return result.loss if result.usable else math.inf


def best_loss(result: Result, before: float = math.inf) -> float:
    """The best finite loss measured so far, in this job's curve and `before` it; infinite for a failed result."""
    if not result.usable:
        return math.inf
    return min([before, result.loss, *(point.loss for point in result.curve if math.isfinite(point.loss))])


def ranked(results: Sequence[tuple[float, Trial]]) -> list[Trial]:
    """The trials with usable losses, best first; equal losses in the order of asking, whatever came back first."""
    usable = [(loss, trial.trial_id, trial) for loss, trial in results if loss < math.inf]
    return [trial for _, _, trial in sorted(usable, key=lambda entry: entry[:2])]
