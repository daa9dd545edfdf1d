"""The look of all figures: colours that the colour-blind tell apart, one font, axes with titles and units.

Rungs are coloured by Viridis (Smith & van der Walt, 2015), light to dark with the resource; statuses by the palette
of Okabe & Ito (2008). Nothing here needs WebGL, so a page prints and renders anywhere.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go  # type: ignore[import-untyped]
from plotly.colors import sample_colorscale, sequential  # type: ignore[import-untyped]

INK, FAINT, GRID = "#1f2933", "#6b7785", "#e4e8ec"
BLUE, RED, GREY = "#0072b2", "#b3261e", "#c3cad1"
FONT = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Drawn:
    """A figure, with the words that stand above and below it."""

    name: str
    """Its id on the page."""
    title: str
    caption: str
    """Says what is shown and what is left out; plain text."""
    figure: go.Figure | None
    """None when there is nothing to draw; the caption then says why."""
    least_width: int = 640
    """Pixels below which its words would be printed over each other; on a narrower page it scrolls."""


def level_colours(levels: Sequence[int]) -> dict[int, str]:
    """A colour for each resource level, light for little training, dark for the most."""
    count = len(levels)
    places = [0.83 * (1 - i / (count - 1)) for i in range(count)] if count > 1 else [0.25]
    return dict(zip(levels, sample_colorscale(sequential.Viridis, places), strict=True))


def base(height: int, **extra: object) -> dict[str, Any]:  # Any: plotly's layout is a tree of anything
    """The layout that all figures share."""
    return {
        "template": None,
        "height": height,
        "paper_bgcolor": "white",
        "plot_bgcolor": "white",
        "font": {"family": FONT, "size": 13, "color": INK},
        "margin": {"l": 70, "r": 20, "t": 40, "b": 55},
        "hoverlabel": {
            "bgcolor": "white",
            "bordercolor": GREY,
            "font": {"family": FONT, "color": INK},
            "align": "left",
        },
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left", "font": {"size": 12}},
        **extra,
    }


def axis(title: str, **extra: object) -> dict[str, Any]:  # Any: as above
    """One axis: a title with its unit, a light grid, ticks outside."""
    return {
        "title": {"text": title, "standoff": 10},
        "showgrid": True,
        "gridcolor": GRID,
        "zeroline": False,
        "showline": True,
        "linecolor": FAINT,
        "ticks": "outside",
        "tickcolor": FAINT,
        "automargin": True,
        **extra,
    }


def loss_scale(values: Sequence[float]) -> Mapping[str, object]:
    """How to draw an axis of losses: logarithmic over more than a factor of ten, and without far outliers.

    The range ends at the 98th percentile when the largest value lies far outside of it.
    """
    finite = sorted(value for value in values if math.isfinite(value))
    if not finite:
        return {}
    low, high, most = finite[0], finite[-1], finite[int(0.98 * (len(finite) - 1))]
    if low > 0 and most / low > 10:
        room = 0.04 * math.log10(most / low)
        upper = math.log10(most if high > 3 * most else high)
        marks = log_marks(low, 10.0**upper, (1, 2, 5) if most / low <= 300 else (1,))
        ticks = {"tickvals": marks, "ticktext": [f"{mark:g}" for mark in marks]}
        return {"type": "log", "range": [math.log10(low) - room, upper + room], **ticks}
    upper = most if high - low > 3 * (most - low) > 0 else high
    room = 0.05 * (upper - low) or max(abs(low) * 0.05, 0.05)
    return {"range": [low - room, upper + room]}


def log_marks(low: float, high: float, steps: Sequence[float]) -> list[float]:
    """The multiples `steps` of powers of ten from low to high."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [mark for power in powers for step in steps if low <= (mark := float(f"{step}e{power}")) <= high]


def resource_scale(levels: Sequence[int]) -> Mapping[str, object]:
    """How to draw an axis of resource: logarithmic, ticks at the rungs, where they span more than a factor of eight."""
    low, high = min(levels), max(levels)
    if low > 0 and high / low > 8:
        return {"type": "log", "tickvals": list(levels), "ticktext": [str(level) for level in levels]}
    return {"rangemode": "tozero"}


def text(value: object) -> str:
    """Any text as plotly may show it: plotly reads some tags, so all are escaped."""
    return html.escape(str(value), quote=True)


def thinned(count: int, most: int) -> list[int]:
    """At most `most` of the indices 0..count-1, evenly spaced, with both ends."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [0]
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})
