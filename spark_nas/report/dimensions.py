"""The axes of parallel coordinates: where a value of a recipe or a choice stands between 0 and 1, and its ticks.

An axis is laid out over all trials, however few of them are drawn; with a hundred thousand of them that must not cost
more than one pass in Python, so ranks and places are numpy's, and words are made for what is drawn alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    values: Sequence[object]
    """For each trial, what it has; None for no value."""
    ticks: tuple[tuple[float, str], ...]
    off: str = "inactive"
    """What it means to have no value here."""

    @property
    def has_off(self) -> bool:
        """Whether some trial has no value here."""
        return OFF in self.places

    def label(self, row: int) -> str:
        """A trial's value in words."""
        value = self.values[row]
        if value is None:
            return self.off
        return number(value) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def dimension(
    name: str, values: Sequence[object], *, log: bool | None = None, off: str = "inactive"
) -> Dimension | None:
    """An axis for these values (None: inactive), or None when they do not vary.

    Numbers get a linear axis, or a logarithmic one when `log` says so or they span more than a factor of 30;
    anything else, and a few distinct whole numbers, is categorical.
    """
    # A type with each value: True is not 1, nor is 1 the same as 1.0.
    distinct = {(type(value), value) for value in values if value is not None}
    inactive = any(value is None for value in values)
    if not distinct or (len(distinct) == 1 and not inactive):
        return None
    present = [value for _, value in distinct]
    numbers = [value for value in present if isinstance(value, int | float) and not isinstance(value, bool)]
    finite = len(numbers) == len(present) and all(math.isfinite(value) for value in numbers)
    spread = finite and float(min(numbers)) < float(max(numbers))  # 1 and 1.0 differ, but span nothing
    if spread and (len(numbers) > 5 or any(isinstance(value, float) for value in numbers)):
        return _numeric(name, values, numbers, log, off)
    return _categorical(name, values, finite, off)


def _numeric(name: str, values: Sequence[object], present: Sequence[float], log: bool | None, off: str) -> Dimension:
    low, high = float(min(present)), float(max(present))
    if low <= 0:
        log = False
    elif log is None:
        log = high / low > 30

    def place(value: NDArray[np.float64]) -> NDArray[np.float64]:
        if log:
            return np.asarray(np.log(value / low) / math.log(high / low))
        return (value - low) / (high - low)

    marks = _log_ticks(low, high) if log else _linear_ticks(low, high, all(isinstance(v, int) for v in present))
    places = place(np.array([math.nan if value is None else value for value in values], dtype=np.float64))
    return Dimension(
        name=name,
        places=tuple(np.where(np.isnan(places), OFF, places).tolist()),
        values=values,
        ticks=tuple((spot, _tick(mark)) for spot, mark in zip(place(np.array(marks)).tolist(), marks, strict=True)),
        off=off,
    )


def _categorical(name: str, values: Sequence[object], finite: bool, off: str) -> Dimension:
    texts = [None if value is None else str(value) for value in values]
    totals = Counter(text for text in texts if text is not None)
    order = sorted(totals, key=float if finite else str)
    spot = {text: (index / (len(order) - 1) if len(order) > 1 else 0.5) for index, text in enumerate(order)}
    step = 1 / max(1, len(order) - 1)
    width = min(0.08, step * 0.4)
    counts: dict[str, int] = {}
    places = []
    for text in texts:
        if text is None:
            places.append(OFF)
            continue
        index = counts.get(text, 0)
        counts[text] = index + 1
        # Fanned out a little, so that lines through one category do not hide one another.
        places.append(spot[text] + ((index + 0.5) / totals[text] - 0.5) * width)
    shown = order if len(order) <= _MOST_CHOICES else order[:: math.ceil(len(order) / _MOST_CHOICES)]
    return Dimension(
        name=name,
        places=tuple(places),
        values=texts,
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
    finals = [view.final[trial] for trial in view.trials]
    ranks = _ranks([result.loss if result.usable else math.inf for result in finals])
    related = [abs(_association(_ranks(entry.places), ranks)) for entry in varying]
    kept = set(sorted(range(len(varying)), key=lambda index: -related[index])[:most])
    left_out = [entry.name for index, entry in enumerate(varying) if index not in kept]
    return [entry for index, entry in enumerate(varying) if index in kept], left_out


def _declared(record: Mapping[str, object]) -> Mapping[str, object]:
    experiment = record.get("experiment")
    recipe = experiment.get("recipe") if isinstance(experiment, Mapping) else None
    return recipe if isinstance(recipe, Mapping) else {}


def _association(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation of two columns of ranks."""
    left, right = a - a.mean(), b - b.mean()
    spread = math.sqrt(float(left @ left) * float(right @ right))
    return float(left @ right) / spread if spread else 0.0


def _ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """From 0, equal values sharing the mean of their ranks."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts + 1) / 2)[place]
    return ranks
