"""The incumbent over wall time and over resource spent: one step line a rung, the highest drawn boldest."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from spark_nas.report.style import FAINT, Drawn, axis, base, level_colours, loss_scale, thinned
from spark_nas.report.view import RunView, duration, time_unit
from spark_nas.search.records import Result

_MOST_LINES = 7


def draw(view: RunView) -> Drawn:
    """Best loss so far at each level of training, against time and against units trained by all workers."""
    name, title = "incumbent", f"Incumbent over time and over {view.unit} spent"
    if not any(result.usable for result in view.results):
        return Drawn(name, title, "No result is usable, so there is no incumbent.", None)
    ordered = sorted(zip((end for _, end in view.spans), view.results, strict=True), key=lambda e: (e[0], e[1].job.key))
    ends, done = [end for end, _ in ordered], [result for _, result in ordered]
    unit, length = time_unit(ends[-1])
    spent, total = [], 0
    for result in done:
        total += view.spent(result)
        spent.append(total)
    usable_levels = sorted({r.job.resource for r in done if r.usable})
    levels = [usable_levels[i] for i in thinned(len(usable_levels), _MOST_LINES)]
    colours = level_colours(levels)
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04)
    shown: list[float] = []
    times = ([end / length for end in ends], [float(s) for s in spent])
    for level in levels:
        steps = _best_so_far(done, level)
        shown += [loss for _, loss, _ in steps]
        _add_level(figure, view, level, steps, times, colours[level], boldest=level == levels[-1])
    _pauses(figure, view, length)
    figure.update_layout(base(400, legend_title_text="best after "))
    figure.update_xaxes(axis(f"wall time ({unit})", rangemode="tozero"), row=1, col=1)
    figure.update_xaxes(axis(f"{view.unit} trained by all workers", rangemode="tozero", tickformat=",d"), row=1, col=2)
    figure.update_yaxes(axis("", **loss_scale(shown)))
    figure.update_yaxes(title_text=f"{view.loss_name}, best so far", row=1, col=1)
    return Drawn(name, title, _caption(view, len(levels), len(usable_levels)), figure)


def _best_so_far(done: Sequence[Result], level: int) -> list[tuple[int, float, int]]:
    """(position in `done`, loss, trial) wherever the best loss at a level of training improves."""
    steps: list[tuple[int, float, int]] = []
    for index, result in enumerate(done):
        if result.usable and result.job.resource == level and (not steps or result.loss < steps[-1][1]):
            steps.append((index, result.loss, result.job.trial.trial_id))
    return steps


def _add_level(
    figure: go.Figure,
    view: RunView,
    level: int,
    steps: Sequence[tuple[int, float, int]],
    times: tuple[Sequence[float], Sequence[float]],
    colour: str,
    *,
    boldest: bool,
) -> None:
    """One step line in both panels, drawn on to the end of the search."""
    points = [*steps, (len(times[0]) - 1, steps[-1][1], steps[-1][2])]
    for column, x in enumerate(times, start=1):
        figure.add_trace(
            go.Scatter(
                x=[x[index] for index, _, _ in points],
                y=[loss for _, loss, _ in points],
                customdata=[trial for _, _, trial in points],
                name=view.units(level),
                legendgroup=str(level),
                showlegend=column == 1,
                mode="lines+markers" if len(steps) < 30 else "lines",
                line={"shape": "hv", "color": colour, "width": 3.5 if boldest else 1.8},
                marker={"size": [6 if boldest else 4] * len(steps) + [0], "color": colour},
                hovertemplate=f"trial %{{customdata}}<br>loss %{{y:.4g}} after {view.units(level)}<extra></extra>",
            ),
            row=1,
            col=column,
        )


def _pauses(figure: go.Figure, view: RunView, length: float) -> None:
    for moment, seconds in view.clock.breaks:
        figure.add_vline(x=moment / length, line={"color": FAINT, "dash": "dot", "width": 1}, row=1, col=1)
        figure.add_annotation(
            x=moment / length, y=1, yref="y domain", text=f"paused {duration(seconds)}", showarrow=False,
            textangle=-90, xanchor="right", yanchor="top", font={"size": 10, "color": FAINT}, row=1, col=1,
        )  # fmt: skip


def _caption(view: RunView, shown: int, levels: int) -> str:
    words = (
        "Each line is the lowest loss so far among trials trained for that long; the thickest is the incumbent, which "
        f"is only ever chosen at the most {view.unit}."
    )
    if shown < levels:
        words += f" {shown} of {levels} levels are shown."
    if view.clock.breaks:
        words += " Dotted lines: the run stood still and was resumed; that time is cut out."
    return words
