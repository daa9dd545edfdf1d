"""How many jobs a worker session is given at once: short jobs in batches, long jobs alone.

Without the channel (`AutoBatch`) the idea is joblib's auto-batching (joblib 0.8, `AutoBatchingMixin`): a batch should
last long enough to hide what a Spark job costs, and no longer, because results of a batch come back together. As there,
a batch grows at once to what the last ones say; a batch that takes longer than they said is cut short by its session
(`worker.FixedBatches`), and its rest comes back. With the
channel (`Lookahead`) only the driver's own turn has to be hidden: appending rows durably and asking the scheduler.
Seconds are learnt for each rung apart, as a rung of a higher resource takes longer, and a rung never seen is taken to
be long.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from spark_nas.engines.worker import Assignment
from spark_nas.search.records import Result

_SMOOTHING = 0.5
_LEAST_SECONDS = 1e-4
_CHANNEL_SECONDS = 0.005
"""What a message to a session may take while the driver is busy."""
_MOST_TURN = 0.25
_SLACK = 0.02
"""The share of its time that a slot may idle before jobs are asked for ahead."""
_FULL_SECONDS = 0.03
"""A session that holds so much work needs no more, whatever the driver does."""
_FULL_BEHIND_ONE = 0.1
_UNKNOWN_SECONDS = 3600.0


class AutoBatch:
    """Batches that last about `seconds`, of at most `largest` jobs; a job alone until its rung is known."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds, self._largest = seconds, largest
        self._mean: dict[int, float] = {}
        self._last_rung = 0

    @property
    def size(self) -> int:
        """Jobs that a session should hold: as many as the last seen rung's, had all been like it."""
        mean = self._mean.get(self._last_rung, math.inf)
        return max(1, min(self._largest, int(self._seconds / mean)))

    def observe(self, results: Sequence[Result]) -> None:
        """Learn from the results of one batch that went well."""
        for result in results:
            rung, seconds = result.job.rung, max(result.seconds, _LEAST_SECONDS)
            self._mean[rung] = _SMOOTHING * seconds + (1 - _SMOOTHING) * self._mean.get(rung, seconds)
            self._last_rung = rung

    def take(self, pending: deque[Assignment], idle: int) -> list[Assignment]:
        """Remove the next session's batch from `pending`, leaving their share to the other idle sessions.

        A job that has been lost before runs alone: should it kill its worker again, it takes nothing with it.
        """
        share = -(-len(pending) // max(1, idle))
        batch: list[Assignment] = []
        seconds = 0.0
        while pending and len(batch) < min(share, self._largest):
            job, attempt = pending[0]
            seconds += self._mean.get(job.rung, math.inf)
            if batch and (attempt > 1 or seconds > self._seconds):
                break
            batch.append(pending.popleft())
            if attempt > 1:
                break
        return batch


class Lookahead:
    """How far a search with a channel asks ahead of its sessions: no further than the driver's turn is long.

    Every job asked for ahead is a decision taken early. Jobs of more than `seconds` (mean) are never asked ahead.
    """

    def __init__(self, sessions: int, seconds: float, largest: int) -> None:
        self._sessions, self._seconds, self._largest = sessions, seconds, largest
        self._rungs: dict[int, float] = {}
        self._mean: float | None = None
        self._turn = 0.0

    def observe(self, rung: int, seconds: float) -> None:
        """A job of this rung took so long."""
        seconds = max(seconds, _LEAST_SECONDS)
        self._rungs[rung] = _smoothed(self._rungs.get(rung, seconds), seconds)
        self._mean = _smoothed(self._mean or seconds, seconds)

    def turned(self, seconds: float) -> None:
        """The driver took so long from one answer to its next question."""
        self._turn = min(_MOST_TURN, max(seconds, 0.9 * self._turn))

    def expected(self, rung: int) -> float:
        """Seconds that a job of this rung takes; many where none has been seen."""
        return self._rungs.get(rung, _UNKNOWN_SECONDS)

    @property
    def ahead(self) -> int:
        """Jobs that should be asked for beyond one a session."""
        if self._mean is None or self._mean > self._seconds:
            return 0
        # A result that comes early in a turn is answered at the end of the next.
        idle = (2 * self._turn + _CHANNEL_SECONDS) / self._mean
        if idle < _SLACK:
            return 0
        # Twice the jobs that end meanwhile, as jobs do not end evenly.
        return math.ceil(self._sessions * min(max(1.0, 2 * idle), self._seconds / self._mean, self._largest))

    def has_room(self, held: int, load: float) -> bool:
        """Whether a session that holds `held` jobs of `load` seconds in all should be given one more."""
        return load < _FULL_SECONDS or (held == 1 and load < _FULL_BEHIND_ONE)


def _smoothed(mean: float, value: float) -> float:
    """Of logarithms: a first job that imports torch, or a straggler, does not pass for the rule."""
    return math.exp(0.2 * math.log(value) + 0.8 * math.log(mean))
