"""Hypothesis strategies and small drivers shared by the suite: spaces, architectures, recipes, results, orders."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import TypeVar

from hypothesis import strategies as st

from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import CurvePoint, Job, JobKey, Result, Trial, derive_seed
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices

V = TypeVar("V")


@dataclass(frozen=True)
class PlainSpace(IndependentChoices):
    """Independent choices and nothing else."""

    name: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class PlainRecipes:
    """A learning rate from a list, or any in (0, 1) when the list is empty."""

    rates: tuple[float, ...] = (0.1,)

    def sample(self, rng: Random) -> dict[str, float]:
        """One of the rates."""
        return {"learning_rate": rng.choice(self.rates) if self.rates else rng.random()}

    def canonical(self, recipe: object) -> str:
        """The recipe's text."""
        return repr(recipe)

    def size(self) -> int | None:
        """How many rates there are."""
        return len(self.rates) or None


def plain_space(*sizes: int) -> PlainSpace:
    """Choices a, b, ... with so many options each."""
    return PlainSpace(
        "plain",
        tuple(Choice(chr(97 + i), tuple(f"o{option}" for option in range(size))) for i, size in enumerate(sizes)),
    )


def spaces(max_choices: int = 4, max_options: int = 4) -> st.SearchStrategy[PlainSpace]:
    """Spaces of independent choices."""
    return st.lists(st.integers(1, max_options), min_size=1, max_size=max_choices).map(lambda s: plain_space(*s))


@st.composite
def architectures(draw: st.DrawFn, space: IndependentChoices, *, complete: bool = True) -> Architecture:
    """Architectures of a space; with `complete=False` some choices stay open."""
    decided = {c.name: draw(st.sampled_from(c.options)) for c in space.choices if complete or draw(st.booleans())}
    return Architecture(decided)


def recipes() -> st.SearchStrategy[dict[str, int | float | str | bool]]:
    """Recipes with values of every allowed type."""
    values = st.one_of(
        st.booleans(),
        st.integers(-(2**31), 2**31),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    )
    return st.dictionaries(st.from_regex(r"[a-z_]{1,12}", fullmatch=True), values, max_size=5)


def _in_order(mapping: dict[str, V]) -> dict[str, V]:
    """Sorted by key, as stores keep mappings: so equal results have equal texts."""
    return dict(sorted(mapping.items()))


_numbers = st.integers(0, 2**31 - 1)
_metrics = st.dictionaries(st.text(min_size=1, max_size=8), st.floats(), max_size=2).map(_in_order)


def losses(*, unusable: bool = True) -> st.SearchStrategy[float]:
    """Losses with many ties; NaN and both infinities too, unless told otherwise."""
    finite = st.one_of(st.integers(0, 5).map(float), st.floats(-1e6, 1e6))
    return st.one_of(finite, st.sampled_from([math.nan, math.inf, -math.inf])) if unusable else finite


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Jobs of any trial, at any rung, from scratch or from another one's checkpoint."""
    architecture = Architecture(draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)))
    trial = Trial(draw(_numbers), architecture, draw(recipes()), draw(st.integers(1, 2**31 - 1)), draw(_numbers))
    rung = draw(st.integers(0, 9))
    start_from = draw(st.none() | st.builds(JobKey, _numbers, st.integers(0, 9)))
    return Job(trial, rung, draw(_numbers), None if start_from == (trial.trial_id, rung) else start_from)


@st.composite
def outcomes(draw: st.DrawFn, job: Job) -> Result:
    """Bare results of a job: completed, perhaps with an unusable loss, or failed."""
    return failed(job) if draw(st.integers(0, 3)) == 0 else Result(job, "completed", draw(losses()))


@st.composite
def results(draw: st.DrawFn) -> Result:
    """Results of any job with all they may hold: completed, perhaps with an unusable loss, or failed."""
    error = draw(st.none() | st.text(min_size=1, max_size=20)) if draw(st.integers(0, 2)) == 0 else None
    return Result(
        draw(jobs()),
        "completed" if error is None else "failed",
        draw(losses()),
        draw(_metrics),
        draw(st.lists(st.builds(CurvePoint, _numbers, losses(), _metrics), max_size=3).map(tuple)),
        draw(st.lists(architectures(plain_space(2, 3)), max_size=2).map(tuple)),
        error,
        datetime(2000, 1, 1, tzinfo=UTC) + timedelta(microseconds=draw(st.integers(0, 10**15))),
        draw(st.floats(0, 1e9)),
        draw(st.text(max_size=12)),
        draw(st.integers(1, 9)),
        draw(st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=2).map(_in_order)),
    )


def failed(job: Job) -> Result:
    """A failed result of a job."""
    return Result(job, "failed", error="RuntimeError: out of memory")


Judge = Callable[[Job], Result]


def judge(seed: int, failure_rate: float = 0.0) -> Judge:
    """Results that depend on the job alone, as training does: so any order of completion gives the same ones."""

    def result(job: Job) -> Result:
        rng = Random(derive_seed(seed, *job.key))
        if rng.random() < failure_rate:
            return failed(job)
        if rng.random() < failure_rate / 3:
            return Result(job, "completed", math.nan)
        return Result(job, "completed", rng.random())

    return result


@dataclass
class History:
    """What a search did."""

    jobs: list[Job]
    rows: list[tuple[Result, int]]
    """Each result with `asked`: the jobs handed out when it was told."""
    idle: bool
    """Whether it ended by itself."""


def search(scheduler: Scheduler, judge: Judge, *, slots: int, seed: int, most: int = 400) -> History:
    """Run a scheduler on `slots` workers that finish in an order drawn from `seed`, for at most `most` jobs."""
    rng = Random(seed)
    history = History([], [], idle=False)
    flying: list[Job] = []
    while len(history.jobs) < most:
        jobs = scheduler.ask(min(slots - len(flying), most - len(history.jobs)))
        history.jobs += jobs
        flying += jobs
        if not flying:
            history.idle = True
            break
        finished = [flying.pop(rng.randrange(len(flying))) for _ in range(rng.randint(1, len(flying)))]
        rows = [(judge(job), len(history.jobs)) for job in finished]
        for row in rows:
            history.rows.append(row)
            scheduler.tell(row[0])
    return history
