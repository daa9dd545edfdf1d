"""What the report is made of: one run's record and its rows, and the questions that every figure asks of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from spark_nas.search.records import JobKey, Result

if TYPE_CHECKING:
    from spark_nas.spaces.graph import Graph


@dataclass(frozen=True)
class RunView:
    """One run, as far as the report may see it: nothing but its own record and rows.

    Every property is computed once; the rows are never changed.
    """

    run_id: str
    record: Mapping[str, object]
    """`run.json`: experiment (the file as read), seed, versions, code revision, data fingerprint, ..."""
    results: Sequence[Result]
    """The rows, in the order of appending."""
    graph: Graph | None = None
    """The incumbent's network, or None where it cannot be drawn."""
    retrained: Mapping[str, float] | None = None
    """Metrics of the incumbent trained again from scratch, for example `test_accuracy`."""
    unit: str = "epochs"
    """What one unit of resource is."""
    commands: Sequence[str] = field(default_factory=tuple)
    """Command lines that made the run, if they are known; the page has sensible ones otherwise."""

    @cached_property
    def by_key(self) -> Mapping[JobKey, Result]:
        """Results by (trial, rung)."""
        return {result.job.key: result for result in self.results}

    @cached_property
    def levels(self) -> tuple[int, ...]:
        """The distinct resources that jobs were given, ascending: the rungs as one sees them across brackets."""
        return tuple(sorted({result.job.resource for result in self.results}))

    @cached_property
    def max_resource(self) -> int:
        """The highest resource at which a result is usable; 0 when none is."""
        return max((result.job.resource for result in self.results if result.usable), default=0)

    @cached_property
    def objective(self) -> str | None:
        """What the loss is, where the record says so: the `error` or the `loss`, a cross-entropy, of training."""
        for part in ("identity", "experiment"):
            section = self.record.get(part)
            evaluator = section.get("evaluator") if isinstance(section, Mapping) else None
            options = evaluator if isinstance(evaluator, Mapping) else {"name": evaluator}
            if options.get("name") == "training":
                chosen = str(options.get("objective", "error"))
                return chosen if chosen in _MEASURES else None
        return None

    @cached_property
    def loss_name(self) -> str:
        """The loss in words: `validation error`, `validation cross-entropy`, or `validation loss` of whatever kind."""
        return f"validation {_MEASURES.get(self.objective or '', 'loss')}"

    def metric_name(self, metric: str) -> str:
        """A metric in words; cross-entropy by its name, where it could be taken for the loss."""
        split, _, measure = metric.rpartition("_")
        if self.objective is not None and split == "valid" and measure in _MEASURES:
            return f"validation {_MEASURES[measure]}"
        return metric.replace("_", " ")

    @cached_property
    def metric(self) -> str | None:
        """The metric shown next to the loss: an accuracy or validation measure, else the first that all rows know."""
        usable = [result for result in self.results if result.usable]
        if not usable:
            return None
        shared = set(usable[0].metrics).intersection(*(result.metrics for result in usable))
        return min(shared, key=_interest, default=None)

    @cached_property
    def trials(self) -> Mapping[int, tuple[Result, ...]]:
        """Each trial's results by rung, trials in order of their number."""
        rows: dict[int, list[Result]] = {}
        for result in self.results:
            rows.setdefault(result.job.trial.trial_id, []).append(result)
        return {trial: tuple(sorted(rows[trial], key=lambda r: r.job.rung)) for trial in sorted(rows)}

    @cached_property
    def final(self) -> Mapping[int, Result]:
        """Each trial's last result, the last usable one where there is any."""
        return {
            trial: max(rows, key=lambda r: (r.usable, r.job.resource, r.job.rung))
            for trial, rows in self.trials.items()
        }

    @cached_property
    def promoted(self) -> frozenset[JobKey]:
        """The jobs whose trial has a result at a higher rung."""
        return frozenset(lower.job.key for rows in self.trials.values() for lower in rows[:-1])

    def trained_from(self, result: Result) -> int:
        """The resource at which the job started: that of the job whose checkpoint it continued, else 0."""
        start = result.job.start_from
        before = self.by_key.get(start) if start is not None else None
        return min(before.job.resource, result.job.resource) if before is not None else 0

    def spent(self, result: Result) -> int:
        """Units of resource the job itself trained; of a failed job, those that its curve shows."""
        if result.status != "completed":
            return len(result.curve)
        return result.job.resource - self.trained_from(result)

    def units(self, count: int) -> str:
        """`1 epoch`, `27 epochs`."""
        return f"{count:,} {self.unit.removesuffix('s') if count == 1 else self.unit}"

    @cached_property
    def clock(self) -> Clock:
        """Seconds since the start of the run, without the pauses in which nothing ran."""
        return Clock.of(self.results)

    @cached_property
    def spans(self) -> Sequence[tuple[float, float]]:
        """When each row's job began and ended, by `clock`, in the order of `results`."""
        return [self.clock.span(result) for result in self.results]


_MEASURES = {"error": "error", "loss": "cross-entropy"}
"""The objectives of the evaluator `training`, in words."""


def _interest(metric: str) -> tuple[int, str]:
    """What a reader would rather see comes first; settings that are recorded as metrics come last."""
    ranks = ("accuracy", "valid_loss", "valid", "loss", "error")
    setting = metric in ("learning_rate", "parameters")
    return next((rank for rank, word in enumerate(ranks) if word in metric), len(ranks) + setting), metric


@dataclass(frozen=True)
class Clock:
    """Turns times of day into seconds of running: a run that was resumed next day has no night in its figures.

    A stretch in which no job ran counts as a pause when it is longer than all else together would be at a
    tenth, and longer than a minute.
    """

    origin: float
    pauses: tuple[tuple[float, float], ...]
    """(begin, end) in seconds since the epoch, ascending."""

    @classmethod
    def of(cls, results: Sequence[Result]) -> Clock:
        """The clock of these rows."""
        spans = sorted((r.started_at.timestamp(), r.started_at.timestamp() + max(0.0, r.seconds)) for r in results)
        if not spans:
            return cls(0.0, ())
        gaps, reached = [], spans[0][1]
        for begin, end in spans:
            if begin > reached:
                gaps.append((reached, begin))
            reached = max(reached, end)
        running = reached - spans[0][0] - sum(end - begin for begin, end in gaps)
        return cls(spans[0][0], tuple(gap for gap in gaps if gap[1] - gap[0] > max(60.0, running / 10)))

    def __call__(self, moment: float) -> float:
        """Seconds of running before `moment` (seconds since the epoch)."""
        if not self.pauses:
            return moment - self.origin
        paused = sum(max(0.0, min(moment, end) - begin) for begin, end in self.pauses)
        return moment - self.origin - paused

    def span(self, result: Result) -> tuple[float, float]:
        """When the job began and ended, in seconds of running."""
        begin = result.started_at.timestamp()
        return self(begin), self(begin + max(0.0, result.seconds))

    @property
    def breaks(self) -> tuple[tuple[float, float], ...]:
        """(seconds of running at the pause, its length in seconds)."""
        return tuple((self(begin), end - begin) for begin, end in self.pauses)


def duration(seconds: float) -> str:
    """A duration as one says it: `4.2 s`, `3 min 12 s`, `2 h 05 min`, `3 d 4 h`."""
    if seconds < 60:
        return f"{seconds:.3g} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = timedelta(seconds=round(seconds))
    hours, minutes = divmod(whole.seconds // 60, 60)
    if whole.days:
        return f"{whole.days} d {hours} h"
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {whole.seconds % 60:02d} s"


def time_unit(seconds: float) -> tuple[str, float]:
    """The unit for an axis that reaches this far, and its length in seconds."""
    if seconds < 180:
        return "s", 1.0
    return ("min", 60.0) if seconds < 3 * 3600 else ("h", 3600.0)


def total_jobs(planned: int | None, asked: int) -> tuple[int, str]:
    """How many jobs there will be, also in words: as planned (it may be an estimate), or the more that were asked for.

    >>> total_jobs(17, 18), total_jobs(1700, 18), total_jobs(None, 18)
    ((18, '18+'), (1700, '1,700'), (18, '18'))
    """
    if planned is None or asked <= planned:
        total = asked if planned is None else planned
        return total, f"{total:,}"
    return asked, f"{asked:,}+"


def number(value: float) -> str:
    """A measurement to four significant digits; counts keep all of theirs."""
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value):,}"
    return f"{value:.4g}"
