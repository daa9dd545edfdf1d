"""The worker timeline where there are more jobs than a browser can draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.report.figures import timeline
from spark_nas.report.figures.timeline import Bar, average_steps, merged
from spark_nas.report.view import RunView

spans = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 30)), min_size=1, max_size=30)


@given(spans, st.floats(0.5, 50))
def test_merged_bars_keep_every_job_and_every_busy_second(pairs: list[tuple[float, float]], width: float):
    bars = [Bar(row, begin, seconds, row % 3, True, None) for row, (begin, seconds) in enumerate(pairs)]
    drawn = merged(bars, width)
    assert len(bars) == sum(bar.jobs for bar in drawn)
    assert sum(bar.seconds for bar in drawn) == pytest.approx(sum(bar.seconds for bar in bars), abs=1e-6)
    assert all(0 <= bar.seconds <= width * (1 + 1e-9) for bar in drawn)


def test_a_merged_bar_has_the_colour_of_what_took_most_of_it():
    bars = [Bar(0, 0.0, 2.0, 1, True, None), Bar(0, 2.0, 5.0, 9, True, None), Bar(0, 7.0, 3.0, 1, False, None)]
    (bar,) = merged(bars, 10.0)
    assert (9, True, 10.0, 3) == (bar.level, bar.usable, bar.seconds, bar.jobs)


@given(st.lists(st.tuples(st.floats(0.01, 20), st.integers(0, 9)), min_size=1, max_size=40), st.integers(1, 30))
def test_averaged_steps_keep_the_area_and_never_exceed_the_peak(gaps: list[tuple[float, int]], most: int):
    steps, moment = [], 5.0
    for gap, count in gaps:
        steps.append((moment, count))
        moment += gap
    steps.append((moment, 0))
    means = average_steps(steps, most)
    area = sum((end - begin) * count for (begin, count), (end, _) in pairwise(steps))
    width = (moment - 5.0) / most
    assert sum(width * mean for _, mean in means[:-1]) == pytest.approx(area, rel=1e-6, abs=1e-6)
    assert max(mean for _, mean in means) <= max(count for _, count in steps) * (1 + 1e-6) + 1e-6
    assert most + 1 == len(means)


def test_few_jobs_have_a_bar_each(make_run: Callable[..., RunView]):
    view = make_run(64)
    drawn = timeline.draw(view)
    assert drawn.figure is not None
    assert len(view.results) == sum(len(trace.y) for trace in drawn.figure.data if trace.type == "bar")
    assert "too many" not in drawn.caption


def test_too_many_jobs_are_merged_and_the_caption_says_so(
    make_run: Callable[..., RunView], monkeypatch: pytest.MonkeyPatch
):
    view = make_run(200)
    monkeypatch.setattr(timeline, "_MOST_BARS", 80)
    monkeypatch.setattr(timeline, "_MOST_STEPS", 50)
    drawn = timeline.draw(view)
    assert drawn.figure is not None
    assert sum(len(trace.y) for trace in drawn.figure.data if trace.type == "bar") <= 80
    assert f"The {len(view.results):,} jobs are too many for a bar each" in drawn.caption
    assert "mean over each of 50 equal parts" in drawn.caption


def test_many_jobs_that_took_no_time_still_have_a_timeline(
    make_run: Callable[..., RunView], monkeypatch: pytest.MonkeyPatch
):
    view = make_run(64)
    moment = view.results[0].started_at
    at_once = RunView("r", {}, [replace(row, started_at=moment, seconds=0.0) for row in view.results])
    monkeypatch.setattr(timeline, "_MOST_BARS", 8)
    assert timeline.draw(at_once).figure is not None
