"""What the Spark UI says of a stage: which run it belongs to, and what its jobs are."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar

from spark_nas.search.records import Job

_RUN: ContextVar[str | None] = ContextVar("run", default=None)
_TAG = "spark_nas "


@contextlib.contextmanager
def named_run(run_id: str) -> Iterator[None]:
    """Engines that are built within say `run_id` in their descriptions."""
    token = _RUN.set(run_id)
    try:
        yield
    finally:
        _RUN.reset(token)


def of_run(words: str) -> str:
    """`words`, with the run that this engine works for, where it is known: read when an engine is built.

    >>> with named_run("first"):
    ...     of_run("spark_nas session")
    'spark_nas session of run first'
    """
    run = _RUN.get()
    return words if run is None else f"{words} of run {run}"


def describe_jobs(jobs: Iterable[Job], unit: str = "epochs") -> str:
    """What jobs do, in some words: `bracket 2, rung 1: 27 jobs to 9 epochs`.

    >>> describe_jobs([])
    'starting Python'
    """
    jobs = list(jobs)
    if not jobs:
        return "starting Python"
    brackets = _span("bracket", [job.trial.bracket for job in jobs])
    rungs = _span("rung", [job.rung for job in jobs])
    low, high = min(job.resource for job in jobs), max(job.resource for job in jobs)
    resource = str(high) if low == high else f"{low}-{high}"
    plural = "s" * (len(jobs) != 1)
    return f"{brackets}, {rungs}: {len(jobs)} job{plural} to {resource} {unit.removesuffix('s') if high == 1 else unit}"


def as_tag(description: str) -> str:
    """A description as a tag of Spark Connect, which has no other place for it; a tag holds no comma."""
    return _TAG + description.removeprefix(_TAG).replace(",", "")


def is_tag(text: str) -> bool:
    """Whether a tag is a description of ours."""
    return text.startswith(_TAG)


def _span(word: str, numbers: list[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{word} {low}" if low == high else f"{word}s {low}-{high}"
