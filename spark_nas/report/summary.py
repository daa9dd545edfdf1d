"""The numbers of a run: what was spent, how well the workers were used, and what became of each rung.

The list of quantities follows Li et al. (2020), section 4, and what users of asynchronous halving ask for: time to
the first full model, promotions, and promotions that later results proved wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from spark_nas.report.view import RunView
from spark_nas.search.records import JobKey, Result

_TOLERANCE = 1e-3
"""Seconds by which the clocks of a job's start and of its duration may disagree."""


class RungKey(NamedTuple):
    """One rung of one bracket."""

    bracket: int
    rung: int


@dataclass(frozen=True)
class Rung:
    """What became of the jobs of one rung, or of the same rung of several brackets of one shape."""

    brackets: tuple[int, ...]
    rung: int
    resource: int
    promoted: int
    stayed: int
    """Completed and not promoted, so far."""
    failed: int
    spent: int
    """Units of resource that these jobs trained."""
    seconds: float
    best: float | None
    overtaken: int
    """Promotions that would not be made on all of the rung's results: not among its best, as many as were promoted."""

    @property
    def jobs(self) -> int:
        """All results of the rung."""
        return self.promoted + self.stayed + self.failed


@dataclass(frozen=True)
class Summary:
    """Totals of a run."""

    trials: int
    jobs: int
    failed: int
    spent: int
    wall: float
    """Seconds from the first job's start to the last one's end, without pauses."""
    paused: float
    busy: float
    """Seconds of all jobs together."""
    workers: int
    """The most jobs that ran at one moment."""
    first_full: float | None
    """Seconds until the first usable result at the highest resource."""
    lost: float
    """Seconds spent on jobs that failed."""

    @property
    def use(self) -> float:
        """The share of the workers' time that was spent in jobs, 0 to 1."""
        return min(1.0, self.busy / (self.workers * self.wall)) if self.wall > 0 and self.workers else 0.0


def summarise(view: RunView) -> Summary:
    """The totals of the rows."""
    spans, most = view.spans, view.max_resource
    full = [end for (_, end), r in zip(spans, view.results, strict=True) if r.job.resource == most and r.usable]
    return Summary(
        trials=len(view.trials),
        jobs=len(view.results),
        failed=sum(not result.usable for result in view.results),
        spent=sum(view.spent(result) for result in view.results),
        wall=max((end for _, end in spans), default=0.0),
        paused=sum(length for _, length in view.clock.breaks),
        busy=sum(end - begin for begin, end in spans),
        workers=max([min(1, len(spans)), *(count for _, count in busy_steps(spans))]),
        first_full=min(full, default=None),
        lost=sum(result.seconds for result in view.results if not result.usable),
    )


def busy_steps(spans: Sequence[tuple[float, float]]) -> list[tuple[float, int]]:
    """How many spans are open from each moment on, as steps (moment, count) in order of time.

    What lasts less than two milliseconds is left out: starts and durations come from two clocks, and a worker that
    takes its next job at once must count neither twice nor as idle.
    """
    change: Counter[float] = Counter()
    for begin, end in spans:
        change[begin] += 1
        change[max(begin, end - _TOLERANCE)] -= 1
    count, steps = 0, []
    moments = [*sorted(change), math.inf]
    for moment, after in pairwise(moments):
        count += change[moment]
        if after - moment > 2 * _TOLERANCE:
            steps.append((moment, count))
    return steps


def rungs(view: RunView) -> list[Rung]:
    """One entry a rung, brackets of equal shape taken together, so that an endless Hyperband stays readable."""
    rows: dict[RungKey, list[Result]] = {}
    for result in view.results:
        rows.setdefault(RungKey(result.job.trial.bracket, result.job.rung), []).append(result)
    shapes: dict[int, list[tuple[int, int]]] = {}
    for key in sorted(rows):
        shapes.setdefault(key.bracket, []).append((key.rung, min(r.job.resource for r in rows[key])))
    alike: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for bracket, shape in shapes.items():
        alike.setdefault(_first_steps(tuple(shape), len(shapes)), []).append(bracket)
    groups = sorted(alike.values())
    return [
        _rung(view, tuple(group), rung, [rows[RungKey(b, rung)] for b in group if RungKey(b, rung) in rows])
        for group in groups
        for rung in sorted({rung for bracket in group for rung, _ in shapes[bracket]})
    ]


def _first_steps(shape: tuple[tuple[int, int], ...], brackets: int) -> tuple[tuple[int, int], ...]:
    """What makes two brackets alike: where they start; few brackets are all shown apart."""
    return shape[:1] if brackets > _MANY_BRACKETS else shape


_MANY_BRACKETS = 8


def _rung(view: RunView, brackets: tuple[int, ...], rung: int, rows: Sequence[Sequence[Result]]) -> Rung:
    every = [result for part in rows for result in part]
    usable = [result for result in every if result.usable]
    promoted = sum(result.job.key in view.promoted for result in usable)
    return Rung(
        brackets=brackets,
        rung=rung,
        resource=min(result.job.resource for result in every),
        promoted=promoted,
        stayed=len(usable) - promoted,
        failed=len(every) - len(usable),
        spent=sum(view.spent(result) for result in every),
        seconds=sum(result.seconds for result in every),
        best=min((result.loss for result in usable), default=None),
        overtaken=sum(_overtaken(part, view.promoted) for part in rows) if promoted else 0,
    )


def _overtaken(rows: Sequence[Result], promoted: frozenset[JobKey]) -> int:
    ranked = sorted((r.loss, r.job.trial.trial_id, r.job.key in promoted) for r in rows if r.usable)
    count = sum(went_on for _, _, went_on in ranked)
    return sum(went_on for _, _, went_on in ranked[count:])
