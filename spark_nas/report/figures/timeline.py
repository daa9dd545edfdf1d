"""Who was busy when: one row a worker, one bar a job, coloured by rung; white is idle."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from spark_nas.report.style import BLUE, FAINT, RED, Drawn, axis, base, level_colours, text, thinned
from spark_nas.report.summary import busy_steps
from spark_nas.report.view import RunView, time_unit
from spark_nas.search.records import Result

_MOST_WORKERS = 40
_MOST_STEPS = 1500


def draw(view: RunView) -> Drawn:
    """A Gantt chart under a line of the number of busy workers."""
    name, title = "timeline", "Worker timeline"
    if not view.results:
        return Drawn(name, title, "No result yet.", None)
    spans = [view.clock.span(result) for result in view.results]
    unit, length = time_unit(max(end for _, end in spans))
    workers = list(dict.fromkeys(r.executor for r in sorted(view.results, key=lambda r: (r.started_at, r.executor))))
    chosen = [workers[i] for i in thinned(len(workers), _MOST_WORKERS)]
    row_height = 26 if len(chosen) <= 12 else 16
    gantt = max(60, row_height * len(chosen))
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=24 / (gantt + 134), row_heights=[110, gantt]
    )
    steps = busy_steps(spans)
    kept = [steps[i] for i in thinned(len(steps), _MOST_STEPS)]
    figure.add_scatter(
        x=[moment / length for moment, _ in kept], y=[count for _, count in kept], name="busy workers", mode="lines",
        line={"shape": "hv", "color": BLUE, "width": 1.2}, fill="tozeroy", fillcolor="rgba(0,114,178,0.18)",
        showlegend=False, hovertemplate="%{y} busy at %{x:.4g} " + unit + "<extra></extra>", row=1, col=1,
    )  # fmt: skip
    _bars(figure, view, chosen, length)
    for moment, _ in view.clock.breaks:
        figure.add_vline(x=moment / length, line={"color": FAINT, "dash": "dot", "width": 1})
    figure.update_layout(base(gantt + 230, barmode="overlay", legend_title_text="job to "))
    figure.update_xaxes(axis("", rangemode="tozero", showgrid=False))
    figure.update_xaxes(title_text=f"wall time ({unit})", row=2, col=1)
    figure.update_yaxes(axis("busy", rangemode="tozero", nticks=4, tickformat=",d"), row=1, col=1)
    rows = axis("", autorange="reversed", showgrid=False, ticks="", tickvals=list(range(len(chosen))))
    rows["ticktext"] = [_short(worker, workers.index(worker)) for worker in chosen]
    rows["tickfont"] = {"size": 12 if row_height > 20 else 10}
    figure.update_yaxes(rows, row=2, col=1)
    return Drawn(name, title, _caption(view, len(chosen), len(workers)), figure)


def _bars(figure: go.Figure, view: RunView, chosen: Sequence[str], length: float) -> None:
    place = {worker: index for index, worker in enumerate(chosen)}
    parts: dict[tuple[int, bool], list[Result]] = {}
    for result in view.results:
        if result.executor in place:
            parts.setdefault((result.job.resource, result.usable), []).append(result)
    colours = level_colours(view.levels)
    failed_named = False
    for (level, usable), rows in sorted(parts.items(), key=lambda item: (not item[0][1], item[0][0])):
        spans = [view.clock.span(result) for result in rows]
        figure.add_bar(
            orientation="h",
            base=[begin / length for begin, _ in spans],
            x=[(end - begin) / length for begin, end in spans],
            y=[place[result.executor] for result in rows],
            width=0.86,
            name=view.units(level) if usable else "failed",
            showlegend=usable or not failed_named,
            marker={"color": colours[level] if usable else RED, "line": {"color": "white", "width": 0.4}},
            customdata=[_hover(view, result) for result in rows],
            hovertemplate="%{customdata}<extra></extra>",
            row=2,
            col=1,
        )
        failed_named = failed_named or not usable


def _hover(view: RunView, result: Result) -> str:
    job = result.job
    return (
        f"trial {job.trial.trial_id}, rung {job.rung}: {view.units(job.resource)}<br>"
        f"{result.seconds:.4g} s on {text(result.executor[:80] or 'worker')}"
    )


def _short(worker: str, index: int) -> str:
    """`worker 3 (host/4711)`, without the long middle of a host's name."""
    if not worker:
        return f"worker {index + 1}"
    short = worker if len(worker) <= 22 else f"{worker[:8]}…{worker[-13:]}"
    return text(short)


def _caption(view: RunView, shown: int, workers: int) -> str:
    words = "Above: how many workers ran a job. Below: one row a worker process, a bar a job; white is idle."
    if shown < workers:
        words += f" {shown} of {workers} workers are shown, evenly chosen in the order in which they first worked."
    if view.clock.breaks:
        words += " Dotted lines: the run stood still and was resumed; that time is cut out."
    return words
