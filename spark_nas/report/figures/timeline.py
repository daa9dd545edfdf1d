"""Who was busy when: one row a worker, one bar a job, coloured by rung; white is idle.

A browser draws some thousand bars. Where there are more jobs, time is cut into parts, and a worker gets one bar a part,
as long as it was busy in it: every job still counts, and what is idle stays white.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.subplots import make_subplots  # type: ignore[import-untyped]

from spark_nas.report.style import BLUE, FAINT, RED, Drawn, axis, base, level_colours, text, thinned
from spark_nas.report.summary import busy_steps
from spark_nas.report.view import RunView, duration, time_unit
from spark_nas.search.records import Result

_MOST_WORKERS = 40
_MOST_STEPS = 1500
_MOST_BARS = 6000


def draw(view: RunView) -> Drawn:
    """A Gantt chart under a line of the number of busy workers."""
    name, title = "timeline", "Worker timeline"
    if not view.results:
        return Drawn(name, title, "No result yet.", None)
    spans = view.spans
    unit, length = time_unit(max(end for _, end in spans))
    workers = list(dict.fromkeys(r.executor for r in sorted(view.results, key=lambda r: (r.started_at, r.executor))))
    chosen = [workers[i] for i in thinned(len(workers), _MOST_WORKERS)]
    row_height = 26 if len(chosen) <= 12 else 16
    gantt = max(60, row_height * len(chosen))
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=24 / (gantt + 134), row_heights=[110, gantt]
    )
    steps = busy_steps(spans)
    averaged = len(steps) > _MOST_STEPS
    kept = average_steps(steps, _MOST_STEPS) if averaged else steps
    figure.add_scatter(
        x=[moment / length for moment, _ in kept], y=[round(count, 2) for _, count in kept],
        name="busy workers", mode="lines",
        line={"shape": "hv", "color": BLUE, "width": 1.2}, fill="tozeroy", fillcolor="rgba(0,114,178,0.18)",
        showlegend=False, hovertemplate="%{y} busy at %{x:.4g} " + unit + "<extra></extra>", row=1, col=1,
    )  # fmt: skip
    bars, part = _all_bars(view, chosen), 0.0
    if len(bars) > _MOST_BARS:
        part = max(end for _, end in spans) / max(1, _MOST_BARS // len(chosen)) or 1.0
        bars = merged(bars, part)
    _draw_bars(figure, view, bars, length)
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
    return Drawn(name, title, _caption(view, (len(chosen), len(workers)), part, averaged=averaged), figure)


class Bar(NamedTuple):
    """A stretch of a worker's time in jobs to one level of training."""

    worker: int
    """The row."""
    begin: float
    """Seconds of running."""
    seconds: float
    level: int
    usable: bool
    """False: in jobs that failed."""
    result: Result | None
    """The job, where the bar is one job's."""
    jobs: int = 1
    """How many jobs ended in it."""


def _all_bars(view: RunView, chosen: Sequence[str]) -> list[Bar]:
    place = {worker: index for index, worker in enumerate(chosen)}
    return [
        Bar(place[result.executor], begin, end - begin, result.job.resource, result.usable, result)
        for (begin, end), result in zip(view.spans, view.results, strict=True)
        if result.executor in place
    ]


def average_steps(steps: Sequence[tuple[float, int]], most: int) -> list[tuple[float, float]]:
    """The same steps as means over `most` equal parts of the time, so that no short peak is lost or made broad."""
    first, last = steps[0][0], steps[-1][0]
    width = (last - first) / most or 1.0
    area = [0.0] * most
    for (begin, count), (end, _) in pairwise(steps):
        for part, seconds in _parts(begin - first, end - begin, width, most):
            area[part] += count * seconds
    return [*((first + part * width, total / width) for part, total in enumerate(area)), (last, float(steps[-1][1]))]


def merged(bars: Sequence[Bar], width: float) -> list[Bar]:
    """One bar for each worker and part of `width` seconds: as long as it was busy, coloured by what took the most."""
    busy: dict[tuple[int, int], dict[tuple[int, bool], float]] = {}
    ended: Counter[tuple[int, int]] = Counter()
    for bar in bars:
        part = 0
        for part, seconds in _parts(bar.begin, bar.seconds, width):
            kinds = busy.setdefault((bar.worker, part), {})
            kind = (bar.level, bar.usable)
            kinds[kind] = kinds.get(kind, 0.0) + seconds
        ended[bar.worker, part] += 1
    return [
        Bar(worker, part * width, min(width, sum(kinds.values())), *max(kinds, key=kinds.__getitem__), None,
            ended[worker, part])
        for (worker, part), kinds in sorted(busy.items())
    ]  # fmt: skip


def _parts(begin: float, seconds: float, width: float, most: int | None = None) -> Iterator[tuple[int, float]]:
    """The parts of `width` that a stretch touches, and its seconds in each; what lies beyond counts in the last."""
    end, part = begin + seconds, int(begin / width)
    while most is not None and part >= most:
        part -= 1
    while most != part + 1 and end > (part + 1) * width:
        yield part, max(0.0, (part + 1) * width - max(begin, part * width))
        part += 1
    yield part, max(0.0, end - max(begin, part * width))


def _draw_bars(figure: go.Figure, view: RunView, bars: Sequence[Bar], length: float) -> None:
    parts: dict[tuple[int, bool], list[Bar]] = {}
    for bar in bars:
        parts.setdefault((bar.level, bar.usable), []).append(bar)
    colours = level_colours(view.levels)
    failed_named = False
    for (level, usable), rows in sorted(parts.items(), key=lambda item: (not item[0][1], item[0][0])):
        figure.add_bar(
            orientation="h",
            base=[_digits(bar.begin / length) for bar in rows],
            x=[_digits(bar.seconds / length) for bar in rows],
            y=[bar.worker for bar in rows],
            width=0.86,
            name=view.units(level) if usable else "failed",
            showlegend=usable or not failed_named,
            marker={"color": colours[level] if usable else RED, "line": {"color": "white", "width": 0.4}},
            customdata=[_hover(view, bar) for bar in rows],
            hovertemplate="%{customdata}<extra></extra>",
            row=2,
            col=1,
        )
        failed_named = failed_named or not usable


def _digits(value: float) -> float:
    """Seven digits: finer than any screen, and half as long on the page."""
    return float(f"{value:.7g}")


def _hover(view: RunView, bar: Bar) -> str:
    if bar.result is None:
        return f"{bar.seconds:.4g} s in jobs, {bar.jobs} ended; most of it {view.units(bar.level)}"
    job = bar.result.job
    return (
        f"trial {job.trial.trial_id}, rung {job.rung}: {view.units(job.resource)}<br>"
        f"{bar.result.seconds:.4g} s on {text(bar.result.executor[:80] or 'worker')}"
    )


def _short(worker: str, index: int) -> str:
    """`worker 3 (host/4711)`, without the long middle of a host's name."""
    if not worker:
        return f"worker {index + 1}"
    short = worker if len(worker) <= 22 else f"{worker[:8]}…{worker[-13:]}"
    return text(short)


def _caption(view: RunView, workers: tuple[int, int], part: float, *, averaged: bool) -> str:
    """`workers`: shown, and all there are; `part`: seconds of a merged bar, 0 where a bar is a job."""
    shown, every = workers
    words = "Above: how many workers ran a job. Below: one row a worker process, a bar a job; white is idle."
    if part:
        words = "Above: how many workers ran a job. Below: one row a worker process; white is idle."
        words += (
            f" The {len(view.results):,} jobs are too many for a bar each: time is cut into parts of {duration(part)}, "
            "and a bar is as long as the worker was busy in its part, coloured by the rung that took most of it."
        )
    if averaged:
        words += f" The upper line is a mean over each of {_MOST_STEPS:,} equal parts of the time."
    if shown < every:
        words += f" {shown} of {every} workers are shown, evenly chosen in the order in which they first worked."
    if view.clock.breaks:
        words += " Dotted lines: the run stood still and was resumed; that time is cut out."
    return words
