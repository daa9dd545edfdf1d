"""The middle stage of a one-shot search: many architectures, scored with the shared weights of a few supernets.

Li & Talwalkar (UAI 2019), section 3.3: every architecture of a group on a few validation minibatches (rung 0), the
best of the group on the whole validation split (rung 1). Nothing is trained, so the resource is 0 throughout.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from spark_nas.search.protocols import Sampler
from spark_nas.search.records import Architecture, Job, JobKey, Result, Trial


@dataclass(frozen=True, slots=True)
class Plan:
    """How many architectures are scored."""

    candidates: int
    groups: int
    finalists: int


@dataclass
class _Group:
    """The candidates that one supernet is asked about together."""

    supernet: Result
    left: int
    """Scores to come, at the present rung."""
    scores: list[tuple[float, int]] = field(default_factory=list)
    """(loss, trial) at rung 0."""


class Scoring:
    """Asks and tells like a scheduler. Its jobs start from another stage's, so its trials have their final numbers."""

    def __init__(self, plan: Plan, supernets: Sequence[Result], sampler: Sampler, first_trial: int) -> None:
        self._plan, self._sampler, self._next_trial = plan, sampler, first_trial
        self._to_come = self._jobs(supernets)
        self._finals: deque[Job] = deque()
        self._groups: dict[int, _Group] = {}
        """Trial -> its group."""
        self._trials: dict[int, Trial] = {}
        self._open = {result.job.key: plan.groups for result in supernets}
        """Supernet -> groups that are not done."""
        self._final: dict[JobKey, list[tuple[float, int]]] = {result.job.key: [] for result in supernets}
        """Supernet -> (loss, trial) at rung 1."""

    def ask(self, limit: int) -> list[Job]:
        """Finalists of complete groups first, then the next candidates."""
        jobs: list[Job] = []
        while len(jobs) < limit:
            job = self._finals.popleft() if self._finals else next(self._to_come, None)
            if job is None:
                break
            jobs.append(job)
        return jobs

    def tell(self, result: Result) -> None:
        """Rank a score in its group; a failed one counts, and goes no further."""
        trial = result.job.trial.trial_id
        group = self._groups[trial]
        group.left -= 1
        if result.usable:
            scores = group.scores if result.job.rung == 0 else self._final[group.supernet.job.key]
            scores.append((result.loss, trial))
        if group.left == 0 and result.job.rung == 0:
            finalists = [number for _, number in sorted(group.scores)][: self._plan.finalists]
            self._finals.extend(self._job(number, 1) for number in finalists)
            group.left = len(finalists)
        if group.left == 0:
            self._open[group.supernet.job.key] -= 1

    def needed(self) -> set[JobKey]:
        """The supernets that scores to come, or in flight, start from."""
        return {key for key, groups in self._open.items() if groups}

    def winners(self, n: int) -> list[Trial]:
        """The `n` best finalists of each supernet, best supernet first; no architecture twice."""
        found: dict[Architecture, Trial] = {}
        for scores in self._final.values():
            trials = [self._trials[number] for _, number in sorted(scores)]
            mine = list({trial.architecture: trial for trial in reversed(trials)}.values())[::-1]
            for trial in mine[:n]:
                found.setdefault(trial.architecture, trial)
        return list(found.values())

    def _jobs(self, supernets: Sequence[Result]) -> Iterator[Job]:
        """The first job of every candidate, group by group. A group is drawn when its first job is asked for."""
        for supernet in supernets:
            for index in range(self._plan.groups):
                architectures = self._draw(supernet.derived if index == 0 else ())
                group = _Group(supernet, len(architectures))
                self._open[supernet.job.key] -= not architectures
                numbers = [self._begin(architecture, group) for architecture in architectures]
                yield from (self._job(number, 0) for number in numbers)

    def _draw(self, derived: Sequence[Architecture]) -> list[Architecture]:
        """What the supernet derived, and the sampler's candidates."""
        found = dict.fromkeys(derived)
        for _ in range(self._plan.candidates):
            proposal = self._sampler.suggest()
            if proposal is None:
                break
            found.setdefault(proposal.architecture)
        return list(found)

    def _begin(self, architecture: Architecture, group: _Group) -> int:
        number, supernet = self._next_trial, group.supernet.job.trial
        self._next_trial += 1
        # Seed and recipe are the supernet's: they say which weights these are.
        self._trials[number] = Trial(number, architecture, supernet.recipe, supernet.seed)
        self._groups[number] = group
        return number

    def _job(self, number: int, rung: int) -> Job:
        return Job(self._trials[number], rung, 0, self._groups[number].supernet.job.key)
