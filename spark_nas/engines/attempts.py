"""How often each job has been handed out: a lost job comes back to its engine under the same key."""

from __future__ import annotations

from collections import Counter

from spark_nas.search.records import Job, JobKey


class Attempts:
    """Numbers the submissions of each job from 1."""

    def __init__(self) -> None:
        self._submissions: Counter[JobKey] = Counter()

    def next(self, job: Job) -> int:
        """The number of this submission of the job."""
        self._submissions[job.key] += 1
        return self._submissions[job.key]
