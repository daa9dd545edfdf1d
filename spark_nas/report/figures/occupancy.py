"""Rung and bracket occupancy: how many jobs of each rung were promoted, stayed or failed."""

from __future__ import annotations

from collections.abc import Sequence

from spark_nas.report.style import BLUE, FAINT, GREY, RED, Drawn, axis, base
from spark_nas.report.summary import Rung, rungs
from spark_nas.report.view import RunView

import plotly.graph_objects as go  # type: ignore[import-untyped]  # isort: skip

_PARTS = (("promoted", "promoted", BLUE), ("stayed", "completed, not promoted", GREY), ("failed", "failed", RED))


def draw(view: RunView) -> Drawn:
    """One horizontal bar a rung, grouped by bracket."""
    name, title = "occupancy", "Rungs and brackets"
    entries = rungs(view)
    if not entries:
        return Drawn(name, title, "No result yet.", None)
    labels = [_label(view, rung) for rung in entries]
    groups = [bracket_name(rung.brackets) for rung in entries]
    several = len(set(groups)) > 1
    y = [groups, labels] if several else labels
    figure = go.Figure()
    for field, words, colour in _PARTS:
        counts = [getattr(rung, field) for rung in entries]
        if any(counts):
            figure.add_bar(
                y=y, x=counts, name=words, orientation="h", marker={"color": colour},
                hovertemplate=f"%{{x}} {words}<extra></extra>",
            )  # fmt: skip
    figure.add_scatter(
        y=y, x=[rung.jobs for rung in entries], text=[_counts(rung) for rung in entries], mode="text",
        textposition="middle right", textfont={"size": 12, "color": FAINT}, cliponaxis=False, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    figure.update_layout(base(110 + 30 * len(entries), barmode="stack", bargap=0.25))
    figure.update_layout(margin={"l": 70, "r": max(110, 8 * max(map(len, map(_counts, entries)))), "t": 40, "b": 55})
    most = max(rung.jobs for rung in entries)
    figure.update_xaxes(axis("jobs", range=[0, most * 1.02], tickformat=",d", **({"dtick": 1} if most <= 8 else {})))
    figure.update_yaxes(axis("", autorange="reversed", showgrid=False, ticks=""), dividercolor=GREY)
    return Drawn(name, title, _caption(entries), figure)


def bracket_name(brackets: Sequence[int]) -> str:
    """`bracket 3`, or `12 brackets (0, 5, 10, ...)`."""
    if len(brackets) == 1:
        return f"bracket {brackets[0]}"
    return f"{len(brackets)} brackets ({', '.join(map(str, brackets[:3]))}{', ...' if len(brackets) > 3 else ''})"


def _label(view: RunView, rung: Rung) -> str:
    return f"rung {rung.rung}: {view.units(rung.resource)}"


def _counts(rung: Rung) -> str:
    return f" {rung.jobs:,}" + (f", {rung.failed:,} failed" if rung.failed else "")


def _caption(entries: Sequence[Rung]) -> str:
    words = "A job is promoted when its trial has a result at a higher rung."
    wrong = sum(rung.overtaken for rung in entries)
    made = sum(rung.promoted for rung in entries)
    if made:
        words += (
            f" Of {made:,} promotions, {wrong:,} were of a trial that, in hindsight, was not among as many best of "
            "its rung: the price of not waiting (none in synchronous halving)."
        )
    return words
