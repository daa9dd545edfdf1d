"""How many jobs a worker session is given at once: short jobs in batches, long jobs alone.

The idea is joblib's auto-batching (joblib 0.8, `BatchedCalls`): a batch should last long enough to hide what a Spark
job costs, and no longer, because results of a batch come back together. Seconds are learnt for each rung apart, as
a rung of a higher resource takes longer, and a rung never seen is taken to be long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from spark_nas.engines.worker import Assignment
from spark_nas.search.records import Result

_GROWTH = 4
_SMOOTHING = 0.5
_LEAST_SECONDS = 1e-4


class AutoBatch:
    """Batches that last about `seconds`, at most four times as long (in jobs) as any batch before them."""

    def __init__(self, seconds: float, largest: int) -> None:
        self._seconds, self._largest = seconds, largest
        self._mean: dict[int, float] = {}
        self._reached = 0
        self._last_rung = 0

    @property
    def size(self) -> int:
        """Jobs that a session should hold: as many as the last seen rung's, had all been like it."""
        mean = self._mean.get(self._last_rung, self._seconds)
        return max(1, min(self._limit, int(self._seconds / mean)))

    def observe(self, results: Sequence[Result]) -> None:
        """Learn from the results of one batch that went well."""
        self._reached = max(self._reached, len(results))
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
        while pending and len(batch) < min(share, self._limit):
            job, attempt = pending[0]
            seconds += self._mean.get(job.rung, self._seconds)
            if batch and (attempt > 1 or seconds > self._seconds):
                break
            batch.append(pending.popleft())
            if attempt > 1:
                break
        return batch

    @property
    def _limit(self) -> int:
        return min(self._largest, max(1, _GROWTH * self._reached))
