"""Weight sharing as a search: train supernets, score architectures with their weights, retrain the best.

Li & Talwalkar (UAI 2019), section 3.3, is the pattern for all one-shot methods: several supernets (the paper: four
seeds), groups of architectures scored with shared weights, and the winner of each supernet trained from scratch. The
supernets are trials of any scheduler, so their recipes may be searched by ASHA; so are the retrained winners.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Protocol

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import SUPERNET, Job, JobKey, Proposal, RecipeValue, Result, derive_seed
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.schedulers.brackets import Bracket
from spark_nas.search.schedulers.scoring import Plan, Scoring

AnyScheduler = Annotated[Any, "scheduler"]
"""The options dataclass of a scheduler: an experiment file gives its name and options, as in the section."""


@dataclass(frozen=True)
class OneShot:
    """Options of a one-shot search. What is open in a supernet, the section `method` searches."""

    supernets: AnyScheduler
    """The scheduler that trains supernets: `full_training` for so many seeds, `asha` for recipes."""
    scored: int | None = None
    """How many of the supernets that were trained to the end are scored, best first; None scores all."""
    candidates: int = 1000
    """Architectures that the sampler adds to each group; 0 leaves those that the supernet derives."""
    groups: int = 1
    """Groups a supernet; the paper has one for every 10,000 training steps."""
    finalists: int = 10
    """The best of each group, scored once more, on the whole validation split."""
    retrain: AnyScheduler | None = None
    """The scheduler that trains the winners from scratch; None ends the search with the scores."""
    winners: int = 1
    """Architectures of each supernet that are retrained."""
    retrain_recipe: Mapping[str, RecipeValue] = field(default_factory=dict)
    """Overrides the supernet's recipe in retraining: the larger network and its training."""

    def __post_init__(self) -> None:
        for key, least in (("scored", 1), ("candidates", 0), ("groups", 1), ("finalists", 1), ("winners", 1)):
            value = getattr(self, key)
            if value is not None and value < least:
                raise OptionError(key, value, f"must be at least {least}")
        for key in ("supernets", "retrain"):
            if hasattr(getattr(self, key), "supernets"):
                raise OptionError(key, "one_shot", "cannot be one_shot again: name a scheduler of trials")
        if self.supernets.endless:
            raise OptionError("supernets", self.supernets, "must end: give the number of its trials")

    @property
    def asynchronous(self) -> bool:
        """Whether it decides after each result: where one of its schedulers does."""
        return any(part.asynchronous for part in (self.supernets, self.retrain) if part is not None)

    @property
    def endless(self) -> bool:
        """Never: the list of winners ends the retraining."""
        return False

    @property
    def max_resource(self) -> int:
        """R of the last stage that trains."""
        last = self.retrain or self.supernets
        resource: int = last.max_resource
        return resource

    def plan(self) -> tuple[Bracket, ...]:
        """The brackets of all stages, one behind the other; the scores are a bracket at resource 0."""
        supernets: tuple[Bracket, ...] = self.supernets.plan()
        full = sum(b.sizes[-1] for b in supernets if b.resources[-1] == self.supernets.max_resource)
        supers = full if self.scored is None else min(full, self.scored)
        groups, candidates = supers * self.groups, max(self.candidates, 1)
        scores = Bracket(1, (groups * candidates, groups * min(candidates, self.finalists)), (0, 0))
        return (*supernets, scores, *self._retraining(supers * self.winners))

    def _retraining(self, trials: int) -> tuple[Bracket, ...]:
        if self.retrain is None:
            return ()
        open_ended = getattr(self.retrain, "trials", trials) is None  # the list of winners ends it
        retrain = replace(self.retrain, trials=trials) if open_ended else self.retrain
        plan: tuple[Bracket, ...] = retrain.plan()
        return plan

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        return OneShotScheduler(self, sampler, seed)


class Stage(Protocol):
    """What the stages have in common: a scheduler without R, whose trials are numbered from 0."""

    def ask(self, limit: int) -> list[Job]:
        """Jobs to start now."""
        ...

    def tell(self, result: Result) -> None:
        """The result of one of them."""
        ...

    def needed(self) -> set[JobKey]:
        """Checkpoints of this stage's own jobs that it may still start from."""
        ...


class OneShotScheduler:
    """Three stages, each begun when the one before is done. Trials and brackets are numbered through all of them."""

    def __init__(self, options: OneShot, sampler: Sampler, seed: int) -> None:
        self._options, self._sampler, self._seed = options, sampler, seed
        self._stage: Stage = options.supernets.build(
            _Supernets(sampler, self._horizon(options.supernets)), derive_seed(seed, "supernets")
        )
        self._scoring: Scoring | None = None
        self._begun = 1
        self._first_trial = self._first_bracket = self._trials = self._brackets = 0
        self._flying: dict[JobKey, tuple[Job, Job]] = {}
        """Key -> the job as it was handed out, and as its stage knows it."""
        self._trained: list[Result] = []
        """Supernets trained to the end."""

    @property
    def max_resource(self) -> int:
        """R of the last stage that trains."""
        return self._options.max_resource

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs; those of the next stage only when nothing flies."""
        jobs: list[Job] = []
        while len(jobs) < limit:
            asked = self._stage.ask(limit - len(jobs))
            jobs += map(self._issue, asked)
            if not asked and (self._flying or not self._next_stage()):
                break
        return jobs

    def tell(self, result: Result) -> None:
        """Take in a result; ValueError for a job that is not in flight."""
        key = result.job.key
        if result.status == "lost":
            raise ValueError(f"job {tuple(key)} was lost: submit it again instead of telling it")
        if key not in self._flying:
            raise ValueError(f"job {tuple(key)} is not in flight: never issued, or told before")
        issued, inner = self._flying[key]
        if issued != result.job:
            raise ValueError(f"job {tuple(key)} differs from the one issued: {result.job} is not {issued}")
        self._stage.tell(replace(result, job=inner))
        del self._flying[key]
        if self._begun == 1 and result.usable and result.job.resource == self._options.supernets.max_resource:
            self._trained.append(result)

    def needed(self) -> set[JobKey]:
        """What the stage needs, and the supernets until they are scored."""
        if self._scoring is not None and self._begun == 2:
            return self._scoring.needed()
        own = {key for inner in self._stage.needed() if (key := self._outer(inner)) is not None}
        return own | {result.job.key for result in self._trained} if self._begun == 1 else own

    def _issue(self, inner: Job) -> Job:
        trial = inner.trial
        number, start, bracket = trial.trial_id, inner.start_from, trial.bracket + self._first_bracket
        if self._begun != 2:
            number, start = number + self._first_trial, self._outer(start)
        self._trials, self._brackets = max(self._trials, number + 1), max(self._brackets, bracket + 1)
        job = Job(replace(trial, trial_id=number, bracket=bracket), inner.rung, inner.resource, start)
        self._flying[job.key] = job, inner
        return job

    def _outer(self, key: JobKey | None) -> JobKey | None:
        return None if key is None else JobKey(key.trial_id + self._first_trial, key.rung)

    def _next_stage(self) -> bool:
        """Begin the next stage; False when there is none, or nothing for it to do."""
        options = self._options
        if self._begun == 1 and self._trained:
            best = sorted(self._trained, key=lambda result: (result.loss, result.job.key))[: options.scored]
            plan = Plan(options.candidates, options.groups, options.finalists)
            self._scoring = self._stage = Scoring(plan, best, self._sampler, self._trials)
        elif self._begun == 2 and options.retrain is not None and self._scoring is not None:
            override = {**options.retrain_recipe, **self._horizon(options.retrain)}
            winners = [
                Proposal(trial.architecture, {**_without_horizon(trial.recipe), **override})
                for trial in self._scoring.winners(options.winners)
            ]
            self._stage = options.retrain.build(ListedSampler(winners), derive_seed(self._seed, "retrain"))
        else:
            return False
        self._begun += 1
        self._first_trial, self._first_bracket = self._trials, self._brackets
        return True

    def _horizon(self, stage: AnyScheduler) -> dict[str, RecipeValue]:
        """The length of a stage's schedules, where it is not R."""
        return {} if stage.max_resource == self.max_resource else {"horizon": stage.max_resource}


def _without_horizon(recipe: Mapping[str, RecipeValue]) -> dict[str, RecipeValue]:
    return {name: value for name, value in recipe.items() if name != "horizon"}


class _Supernets:
    """Turns a sampler's proposals into supernets with its recipes."""

    def __init__(self, sampler: Sampler, override: Mapping[str, RecipeValue]) -> None:
        self._sampler, self._override = sampler, override

    def suggest(self) -> Proposal | None:
        """The next recipe, with all choices open."""
        proposal = self._sampler.suggest()
        return None if proposal is None else Proposal(SUPERNET, {**proposal.recipe, **self._override})

    def observe(self, result: Result) -> None:
        """Let the sampler learn which recipes are good."""
        self._sampler.observe(result)
