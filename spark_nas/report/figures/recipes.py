"""Parallel coordinates of recipes and choices, coloured by loss, as plain SVG lines on normalised axes."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.colors import sample_colorscale, sequential  # type: ignore[import-untyped]

from spark_nas.report.dimensions import OFF, Dimension, dimension, of_trials
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.style import FAINT, GREY, INK, Drawn, base, text, thinned
from spark_nas.report.view import RunView, number

_MOST_AXES = 8
_MOST_LINES = 1000
_BINS = 10
_LEFT, _RIGHT = 50, 90
_ROOM = 100
"""Pixels between two axes, at least."""
_LETTER = 7.5
"""Pixels that a letter of a title takes."""
_TILT = -20
"""Degrees: titles that stand side by side no longer touch, and lie 34 pixels apart."""
_LONGEST = 40
"""Letters of a title."""
_HIGHLIGHT = "#d55e00"


def draw(view: RunView) -> Drawn:
    """One line a trial, through its recipe, its choices, how far it was trained, and its last loss."""
    name, title = "recipes", "Recipes and choices by loss"
    described, left_out = of_trials(view, _MOST_AXES)
    if not described:
        return Drawn(name, title, "No hyperparameter and no choice varies between the trials.", None)
    finals = [view.final[trial] for trial in view.trials]
    extra = [
        dimension(f"{view.unit} reached", [result.job.resource for result in finals]),
        dimension("loss", [result.loss if result.usable else None for result in finals], off="none"),
    ]
    axes = [*described, *(entry for entry in extra if entry is not None)]
    ranked = sorted(
        range(len(finals)), key=lambda i: (finals[i].usable, -finals[i].loss if finals[i].usable else 0.0, -i)
    )
    order = [ranked[i] for i in thinned(len(ranked), _MOST_LINES)]
    best = incumbent(view.results)
    figure = go.Figure()
    _lines(figure, view, axes, order)
    if best is not None:
        row = list(view.trials).index(best.job.trial.trial_id)
        _line(figure, view, axes, [row], _HIGHLIGHT, 3.5, 1.0, f"incumbent: trial {best.job.trial.trial_id}")
    width = max(Drawn.least_width, _LEFT + _RIGHT + _ROOM * (len(axes) - 1))
    titles = _titles(axes, (width - _LEFT - _RIGHT) / max(1, len(axes) - 1))
    _furniture(figure, axes, titles)
    top = 40 + (titles.angle != 0) * round(0.36 * _LETTER * max(map(len, titles.words)))
    figure.update_layout(
        base(
            410 + top,
            margin={"l": _LEFT, "r": _RIGHT, "t": top, "b": 55},
            xaxis={"visible": False, "range": [-0.15, len(axes) - 1 + 0.35], "fixedrange": True},
            yaxis={"visible": False, "range": [OFF - 0.07, 1.06], "fixedrange": True},
            hovermode="closest",
        )
    )
    figure.update_layout(legend={"y": 0, "yanchor": "top"})
    cut = [entry.name for entry, words in zip(axes, titles.words, strict=True) if words != entry.name]
    return Drawn(name, title, _caption(view, len(order), left_out, cut), figure, width)


def _lines(figure: go.Figure, view: RunView, axes: Sequence[Dimension], order: Sequence[int]) -> None:
    """The failed in grey below all, then bins of equal size from the worst losses to the best."""
    finals = [view.final[trial] for trial in view.trials]
    losses = sorted(finals[i].loss for i in order if finals[i].usable)
    bins: dict[int, list[int]] = {}
    for i in order:
        place = bisect.bisect_left(losses, finals[i].loss) * _BINS // len(losses) if finals[i].usable else _BINS
        bins.setdefault(place, []).append(i)
    colours = sample_colorscale(sequential.Cividis, [0.97 * place / (_BINS - 1) for place in range(_BINS)])
    crowd = min(1.0, 3.2 / max(1.0, len(order)) ** 0.4)
    for place in sorted(bins, reverse=True):
        if place == _BINS:
            _line(figure, view, axes, bins[place], GREY, 1.0, max(0.3, crowd), "no usable loss")
        else:
            fade = max(0.08, crowd * (1 - 0.75 * place / _BINS))
            _line(figure, view, axes, bins[place], colours[place], 1.5, min(1.0, fade), None)
    if len(losses) > 1:
        _colour_bar(figure, losses, colours)


def _line(
    figure: go.Figure, view: RunView, axes: Sequence[Dimension], rows: Sequence[int], colour: str, width: float,
    opacity: float, name: str | None,
) -> None:  # fmt: skip
    trials = list(view.trials)
    x: list[float | None] = []
    y: list[float | None] = []
    words: list[str] = []
    for i in rows:
        x += [*map(float, range(len(axes))), None]
        y += [*(entry.places[i] for entry in axes), None]
        words += [f"trial {trials[i]}<br>{text(entry.name)}: {text(entry.label(i))}" for entry in axes] + [""]
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": colour, "width": width}, opacity=opacity, name=name or "",
        showlegend=name is not None, customdata=words, hovertemplate="%{customdata}<extra></extra>",
    )  # fmt: skip


def _colour_bar(figure: go.Figure, losses: Sequence[float], colours: Sequence[str]) -> None:
    """A legend of the bins: equal shares of the trials, with the losses that part them."""
    scale = [[edge / _BINS, colours[place]] for place in range(_BINS) for edge in (place, place + 1)]
    marks = [0, 1, 2, 5, 8, _BINS]
    at = [losses[min(len(losses) - 1, mark * len(losses) // _BINS)] for mark in marks]
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        marker={
            "color": [0], "cmin": 0, "cmax": _BINS, "colorscale": scale, "showscale": True,
            "colorbar": {
                "title": {"text": "loss", "side": "top"}, "tickvals": marks, "ticktext": [number(v) for v in at],
                "thickness": 14, "len": 0.9, "outlinewidth": 0,
            },
        },
    )  # fmt: skip


class _Titles(NamedTuple):
    words: Sequence[str]
    angle: int
    room: float
    """Pixels between two axes."""


def _titles(axes: Sequence[Dimension], room: float) -> _Titles:
    """Level where each fits beside its neighbours, else tilted and cut where the figure ends."""
    lengths = [_LETTER * len(entry.name) for entry in axes]
    if max(lengths) < room and lengths[0] < 2 * _LEFT:
        return _Titles([entry.name for entry in axes], 0, room)
    spaces = [room * (len(axes) - 1 - place) + _RIGHT for place in range(len(axes))]
    return _Titles(
        [_cut(entry.name, min(_LONGEST, space / _LETTER)) for entry, space in zip(axes, spaces, strict=True)],
        _TILT,
        room,
    )


def _furniture(figure: go.Figure, axes: Sequence[Dimension], titles: _Titles) -> None:
    """The axes, their names and their ticks, set at once: plotly copies all that are there for each that is added."""
    tilted = {"textangle": titles.angle, "xanchor": "left", "xshift": -4} if titles.angle else {}
    lines: list[dict[str, Any]] = []
    words_at: list[dict[str, Any]] = []
    for place, (entry, name) in enumerate(zip(axes, titles.words, strict=True)):
        line = {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": {"color": INK, "width": 1.2}}
        lines.append(line)
        above = {"yanchor": "bottom", "font": {"size": 12}, "hovertext": text(entry.name), **tilted}
        words_at.append({"x": place, "y": 1.03, "text": f"<b>{text(name)}</b>", "showarrow": False, **above})
        for spot, words in [*entry.ticks, *([(OFF, entry.off)] if entry.has_off else [])]:
            font = {"size": 11, "color": INK if spot >= 0 else FAINT}
            beside = {"xanchor": "left", "xshift": 4, "borderpad": 1, "bgcolor": "rgba(255,255,255,0.78)"}
            short = text(_cut(words, titles.room / 8))
            words_at.append({"x": place, "y": spot, "text": short, "showarrow": False, "font": font, **beside})
    figure.update_layout(shapes=[*figure.layout.shapes, *lines], annotations=[*figure.layout.annotations, *words_at])


def _cut(words: str, most: float) -> str:
    return words if len(words) <= max(6, most) else words[: max(6, int(most)) - 1] + "…"


def _caption(view: RunView, shown: int, left_out: Sequence[str], cut: Sequence[str]) -> str:
    words = (
        "A line is one trial; its colour is the rank of its last loss in tenths, dark blue the best. Losses after "
        f"different numbers of {view.unit} are ranked together here, so see how far a trial went on its own axis."
    )
    if shown < len(view.trials):
        words += f" {shown:,} of {len(view.trials):,} trials are shown, evenly over the losses."
    if left_out:
        words += f" Left out, as least related to the loss: {', '.join(left_out)}."
    if cut:
        words += f" Names that are cut above: {', '.join(cut)}."
    return words
