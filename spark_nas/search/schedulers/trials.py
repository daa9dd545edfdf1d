"""The trials of one search: drawn from the sampler, numbered, and known while their jobs fly.

Every scheduler owns one `Trials`; what differs between schedulers is only which job comes next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

from spark_nas.search.protocols import Sampler
from spark_nas.search.records import Job, JobKey, Result, Trial, derive_seed


@runtime_checkable
class Inheriting(Protocol):
    """What a sampler must have besides, if its proposals start from the checkpoints of other trials."""

    def needed(self) -> set[JobKey]:
        """The checkpoints that it may still name: all others are deleted."""
        ...


class Trials:
    """Issues jobs and takes their results back, each exactly once.

    A sampler that answered None is *dry* until the next result: it is not asked again, so asking in portions
    equals asking at once.
    """

    def __init__(self, sampler: Sampler, seed: int) -> None:
        self._sampler = sampler
        self._seed = seed
        self._flying: dict[JobKey, Job] = {}
        self._dry = False
        self.started = 0
        """Trials begun so far; the next one's number."""

    @property
    def flying(self) -> int:
        """Jobs issued whose results have not come back."""
        return len(self._flying)

    @property
    def dry(self) -> bool:
        """Whether the sampler had nothing to propose since the last result."""
        return self._dry

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has nothing to propose and no result is to come that could change its mind."""
        return self._dry and not self._flying

    def start(self, resource: int, bracket: int = 0) -> Job | None:
        """The first job of a new trial, at rung 0; None while the sampler has nothing to propose."""
        if self._dry:
            return None
        proposal = self._sampler.suggest()
        if proposal is None:
            self._dry = True
            return None
        if proposal.start_from is not None and not isinstance(self._sampler, Inheriting):
            raise ValueError(f"{type(self._sampler).__name__} starts trials from checkpoints without saying needed()")
        number = self.started
        trial = Trial(number, proposal.architecture, proposal.recipe, derive_seed(self._seed, number), bracket)
        self.started += 1
        return self._issue(Job(trial, 0, resource, proposal.start_from))

    def promote(self, trial: Trial, rung: int, resource: int) -> Job:
        """The job that takes a trial from the rung below to `rung`."""
        return self._issue(Job(trial, rung, resource, JobKey(trial.trial_id, rung - 1)))

    def settle(self, result: Result) -> None:
        """Take a result back and let the sampler see it.

        Raises ValueError for a lost result (the driver submits those again) and for a job that was not issued,
        was issued differently, or whose result was told before.
        """
        job = result.job
        if result.status == "lost":
            raise ValueError(f"job {tuple(job.key)} was lost: submit it again instead of telling it")
        issued = self._flying.get(job.key)
        if issued is None:
            raise ValueError(f"job {tuple(job.key)} is not in flight: never issued, or told before")
        if issued is not job and issued != job:
            raise ValueError(f"job {tuple(job.key)} differs from the one issued: {job} is not {issued}")
        del self._flying[job.key]
        self._dry = False
        self._sampler.observe(result)

    def needed(self) -> set[JobKey]:
        """The checkpoints that jobs in flight start from, and those that the sampler may name."""
        flying = {job.start_from for job in self._flying.values() if job.start_from is not None}
        return flying | self._sampler.needed() if isinstance(self._sampler, Inheriting) else flying

    def _issue(self, job: Job) -> Job:
        self._flying[job.key] = job
        return job


def take(next_job: Callable[[], Job | None], limit: int) -> list[Job]:
    """Up to `limit` jobs, one after the other: what makes `ask` additive."""
    jobs: list[Job] = []
    while len(jobs) < limit and (job := next_job()) is not None:
        jobs.append(job)
    return jobs
