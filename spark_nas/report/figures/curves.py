"""Learning curves of the trials, each stretch coloured by the rung whose job trained it."""

from __future__ import annotations

import math

import plotly.graph_objects as go  # type: ignore[import-untyped]

from spark_nas.report.leaderboard import incumbent
from spark_nas.report.style import INK, Drawn, axis, base, level_colours, loss_scale, resource_scale, thinned
from spark_nas.report.view import RunView
from spark_nas.search.records import Result

_MOST_TRIALS = 150
_MOST_POINTS = 40
"""Of one job's curve."""

Point = tuple[float, float]
_Sample = tuple[float | None, float | None, int]
"""Resource, loss and trial; None parts two lines."""


def draw(view: RunView) -> Drawn:
    """Validation loss against resource; one line a trial."""
    name, title = "curves", "Learning curves by rung"
    shown = _chosen(view)
    if not shown:
        return Drawn(name, title, "No job left a finite loss to draw.", None)
    colours = level_colours(view.levels)
    lines: dict[int, list[_Sample]] = {level: [] for level in view.levels}
    losses: list[float] = []
    for trial in shown:
        before: Point | None = None
        for result in view.trials[trial]:
            points = _points(result)
            joined = [before, *points] if before is not None and points else points
            lines[result.job.resource] += [(x, y, trial) for x, y in joined]
            lines[result.job.resource].append((None, None, trial))
            losses += [loss for _, loss in points]
            before = points[-1] if points else before
    figure = go.Figure()
    for level, samples in lines.items():
        if not samples:
            continue
        figure.add_scatter(
            x=[x for x, _, _ in samples],
            y=[y for _, y, _ in samples],
            customdata=[trial for _, _, trial in samples],
            name=view.units(level),
            mode="lines+markers",
            line={"color": colours[level], "width": 1.6},
            marker={"size": 4 if len(shown) < 60 else 3, "color": colours[level]},
            opacity=0.9 if len(shown) < 60 else 0.65,
            hovertemplate="trial %{customdata}<br>loss %{y:.4g} after %{x} " + view.unit + "<extra></extra>",
        )
    _mark_incumbent(figure, view)
    figure.update_layout(base(430, legend_title_text="rung with "))
    first = min(int(x) for samples in lines.values() for x, _, _ in samples if x is not None)
    figure.update_xaxes(axis(f"{view.unit} of training", **resource_scale(sorted({first, *view.levels}))))
    figure.update_yaxes(axis(view.loss_name, **loss_scale(losses)))
    return Drawn(name, title, _caption(view, len(shown)), figure)


def _chosen(view: RunView) -> list[int]:
    """All trials, or those that went furthest, filled up with an even choice over the losses of the rest."""
    drawable = [trial for trial, rows in view.trials.items() if any(_points(row) for row in rows)]
    if len(drawable) <= _MOST_TRIALS:
        return drawable
    ranked = sorted(drawable, key=lambda t: (-view.final[t].job.resource, _sortable(view.final[t].loss), t))
    sure, rest = ranked[: _MOST_TRIALS // 3], ranked[_MOST_TRIALS // 3 :]
    return sorted(sure + [rest[i] for i in thinned(len(rest), _MOST_TRIALS - len(sure))])


def _sortable(loss: float) -> float:
    return loss if math.isfinite(loss) else math.inf


def _points(result: Result) -> list[Point]:
    """The finite points of a job's curve, thinned; its final loss where it kept no curve."""
    points = [(float(point.resource), point.loss) for point in result.curve if math.isfinite(point.loss)]
    if not points and result.usable:
        points = [(float(result.job.resource), result.loss)]
    return [points[i] for i in thinned(len(points), _MOST_POINTS)]


def _mark_incumbent(figure: go.Figure, view: RunView) -> None:
    best = incumbent(view.results)
    if best is None:
        return
    points = [point for row in view.trials[best.job.trial.trial_id] for point in _points(row)]
    figure.add_scatter(
        x=[points[-1][0]], y=[points[-1][1]], name=f"best: trial {best.job.trial.trial_id}", mode="markers",
        marker={"symbol": "star", "size": 14, "color": "#d55e00", "line": {"color": INK, "width": 1}},
        hovertemplate=f"best: trial {best.job.trial.trial_id}<br>loss %{{y:.4g}}<extra></extra>",
    )  # fmt: skip


def _caption(view: RunView, shown: int) -> str:
    words = "A line is one trial; its colour changes where it was promoted and a new job went on from its checkpoint."
    every = len(view.trials)
    if shown < every:
        words += f" {shown:,} of {every:,} trials are shown"
        if shown == _MOST_TRIALS:
            words += ": those that went furthest, and an even choice over the final losses of the others"
        words += "; trials without a finite loss are not drawn."
    return words
