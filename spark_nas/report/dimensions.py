"""The axes of parallel coordinates: where a value of a recipe or a choice stands between 0 and 1, and its ticks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from spark_nas.report.style import log_marks
from spark_nas.report.view import RunView, number

OFF = -0.09
"""Where a trial passes an axis on which it has no value: a conditional hyperparameter that is inactive."""
_MOST_CHOICES = 12


@dataclass(frozen=True)
class Dimension:
    """One axis."""

    name: str
    places: tuple[float, ...]
    """For each trial, 0 to 1, or OFF."""
    labels: tuple[str, ...]
    """For each trial, its value in words."""
    ticks: tuple[tuple[float, str], ...]
    off: str = "inactive"
    """What it means to have no value here."""

    @property
    def has_off(self) -> bool:
        """Whether some trial has no value here."""
        return OFF in self.places


def dimension(
    name: str, values: Sequence[object], *, log: bool | None = None, off: str = "inactive"
) -> Dimension | None:
    """An axis for these values (None: inactive), or None when they do not vary.

    Numbers get a linear axis, or a logarithmic one when `log` says so or they span more than a factor of 30;
    anything else, and a few distinct whole numbers, is categorical.
    """
    present = [value for value in values if value is not None]
    distinct = set(map(str, present))
    if not present or (len(distinct) == 1 and len(present) == len(values)):
        return None
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    finite = numeric and all(math.isfinite(float(str(value))) for value in present)
    if finite and len(distinct) > 1 and (len(distinct) > 5 or any(isinstance(value, float) for value in present)):
        return _numeric(name, values, log, off)
    return _categorical(name, values, finite, off)


def _numeric(name: str, values: Sequence[object], log: bool | None, off: str) -> Dimension:
    numbers = [None if value is None else float(str(value)) for value in values]
    present = [value for value in numbers if value is not None]
    low, high = min(present), max(present)
    if low <= 0:
        log = False
    elif log is None:
        log = high / low > 30

    def place(value: float) -> float:
        if log:
            return math.log(value / low) / math.log(high / low)
        return (value - low) / (high - low)

    whole = all(isinstance(value, int) for value in values if value is not None)
    marks = _log_ticks(low, high) if log else _linear_ticks(low, high, whole)
    return Dimension(
        name=name,
        places=tuple(OFF if value is None else place(value) for value in numbers),
        labels=tuple(off if value is None else number(value) for value in numbers),
        ticks=tuple((place(mark), _tick(mark)) for mark in marks),
        off=off,
    )


def _categorical(name: str, values: Sequence[object], finite: bool, off: str) -> Dimension:
    present = {str(value): value for value in values if value is not None}
    order = sorted(present, key=float if finite else str)
    spot = {text: (index / (len(order) - 1) if len(order) > 1 else 0.5) for index, text in enumerate(order)}
    step = 1 / max(1, len(order) - 1)
    counts: dict[str, int] = {}
    totals = {text: sum(str(value) == text for value in values if value is not None) for text in order}
    places = []
    for value in values:
        if value is None:
            places.append(OFF)
            continue
        index = counts.get(str(value), 0)
        counts[str(value)] = index + 1
        # Fanned out a little, so that lines through one category do not hide one another.
        fan = (index + 0.5) / totals[str(value)] - 0.5
        places.append(spot[str(value)] + fan * min(0.08, step * 0.4))
    shown = order if len(order) <= _MOST_CHOICES else order[:: math.ceil(len(order) / _MOST_CHOICES)]
    return Dimension(
        name=name,
        places=tuple(places),
        labels=tuple(off if value is None else str(value) for value in values),
        ticks=tuple((spot[text], text) for text in shown),
        off=off,
    )


def _tick(value: float) -> str:
    if value and not 1e-3 <= abs(value) < 1e5:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:.4g}"


def _log_ticks(low: float, high: float) -> list[float]:
    for steps in ((1,), (1, 3), (1, 2, 5)):
        marks = log_marks(low, high, steps)
        if len(marks) >= 3:
            return marks
    return [low, math.sqrt(low * high), high]


def _linear_ticks(low: float, high: float, whole: bool) -> list[float]:
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    step = max(1.0, step) if whole else step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def of_trials(view: RunView, most: int) -> tuple[list[Dimension], list[str]]:
    """The axes of a run's recipes and choices, and the names of those that vary but did not fit.

    Where there are more than `most`, those are kept whose value goes most with the loss (rank correlation).
    """
    trials = [view.final[trial].job.trial for trial in view.trials]
    declared = _declared(view.record)
    dimensions = []
    for name in sorted({name for trial in trials for name in trial.recipe}):
        spec = declared.get(name)
        log = bool(spec.get("log", False)) if isinstance(spec, Mapping) and ("float" in spec or "int" in spec) else None
        dimensions.append(dimension(name, [trial.recipe.get(name) for trial in trials], log=log or None))
    for name in sorted({name for trial in trials for name in trial.architecture}):
        dimensions.append(dimension(name, [trial.architecture.get(name) for trial in trials]))
    varying = [entry for entry in dimensions if entry is not None]
    if len(varying) <= most:
        return varying, []
    losses = [view.final[trial].loss if view.final[trial].usable else math.inf for trial in view.trials]
    kept = sorted(varying, key=lambda entry: -abs(_association(entry.places, losses)))[:most]
    return [entry for entry in varying if entry in kept], [entry.name for entry in varying if entry not in kept]


def _declared(record: Mapping[str, object]) -> Mapping[str, object]:
    experiment = record.get("experiment")
    recipe = experiment.get("recipe") if isinstance(experiment, Mapping) else None
    return recipe if isinstance(recipe, Mapping) else {}


def _association(places: Sequence[float], losses: Sequence[float]) -> float:
    """Spearman's rank correlation."""
    a, b = _ranks(places), _ranks(losses)
    mean = (len(a) - 1) / 2
    spread = math.sqrt(sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b))
    return sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True)) / spread if spread else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        end = start
        while end + 1 < len(order) and values[order[end + 1]] == values[order[start]]:
            end += 1
        for position in range(start, end + 1):
            ranks[order[position]] = (start + end) / 2
        start = end + 1
    return ranks
