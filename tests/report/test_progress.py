"""The progress of a search."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable

import pytest

from spark_nas.report.progress import Progress
from spark_nas.report.view import RunView


def watched(make_run: Callable[..., RunView], tick: float = 0.0, **options: int | float | None):
    """A run and its log, on a clock that moves by `tick` seconds each time it is looked at."""
    stream = io.StringIO()
    total = options.pop("total", None)
    moments = itertools.count()
    progress = Progress(total_jobs=total, stream=stream, clock=lambda: tick * next(moments))
    view = make_run(observer=progress, **options)
    return view, stream.getvalue()


def test_a_log_has_no_escape_codes_and_only_whole_lines(make_run: Callable[..., RunView]):
    _, log = watched(make_run, trials=100)
    assert "\x1b" not in log
    assert "\r" not in log
    assert log.endswith("\n")


def test_rounds_get_one_line_each(make_run: Callable[..., RunView]):
    _, log = watched(make_run, hyperband=9, workers=50, divergence=0.0, drop=0.0)
    ends = [line for line in log.splitlines() if "in flight" not in line and not line.startswith("search ended")]
    assert ["9 jobs", "12 jobs", "13 jobs", "18 jobs", "19 jobs", "22 jobs"] == [line.split(",")[0] for line in ends]


def test_asynchronous_search_gets_a_line_for_every_twentieth_of_its_jobs(make_run: Callable[..., RunView]):
    view, log = watched(make_run, tick=0.1, trials=300, total=400)
    assert len(view.results) // 20 <= len(log.splitlines()) <= 25


def test_results_that_come_all_at_once_get_no_lines_between(make_run: Callable[..., RunView]):
    _, log = watched(make_run, hyperband=9, workers=50, divergence=0.0, drop=0.0, total=22)
    assert [line for line in log.splitlines() if "in flight" in line] == []


def test_the_last_line_counts_everything(make_run: Callable[..., RunView]):
    view, log = watched(make_run, trials=64)
    spent = sum(view.spent(result) for result in view.results)
    last = log.splitlines()[-1]
    assert last.startswith(f"search ended: {len(view.results)} jobs, {spent} epochs")


def test_a_quiet_log_gets_a_line_after_half_a_minute(make_run: Callable[..., RunView]):
    now, stream = [0.0], io.StringIO()
    results = make_run(64).results
    progress = Progress(total_jobs=10_000, stream=stream, clock=lambda: now[0])
    progress.on_asked([result.job for result in results])
    progress.on_result(results[0])
    assert "" == stream.getvalue()
    progress.on_wait()
    assert "" == stream.getvalue()
    now[0] = 31.0
    progress.on_wait()  # nothing has come back: the first epoch of a large network takes an hour
    assert stream.getvalue().startswith(f"1/10,000 jobs, {len(results) - 1} in flight")
    progress.on_wait()
    now[0] = 62.0
    progress.on_result(results[1])
    assert [line.split(" ")[0] for line in stream.getvalue().splitlines()] == ["1/10,000", "2/10,000"]


def test_a_terminal_shows_bars_the_incumbent_and_the_rungs(
    make_run: Callable[..., RunView], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    _, shown = watched(make_run, trials=64)
    assert "\x1b[" in shown
    assert "best loss" in shown
    assert "jobs done by rung" in shown


def test_more_jobs_than_expected_are_the_total(make_run: Callable[..., RunView]):
    results = make_run(64).results
    progress = Progress(total_jobs=2, stream=io.StringIO(), clock=lambda: 0.0)
    progress.on_asked([results[0].job, results[1].job])
    assert "0/2 jobs" == progress.status().split(",")[0]
    progress.on_asked([results[2].job])
    assert "0/3+ jobs" == progress.status().split(",")[0]
    for result in results[:3]:
        progress.on_result(result)
    assert "3/3+ jobs" == progress.status().split(",")[0]


@pytest.mark.parametrize(("total", "words"), [(3, "{0}/{0}+"), (None, "{0}/{0}"), (1000, "{0}/1,000")])
def test_a_bar_on_a_terminal_never_exceeds_its_total(
    make_run: Callable[..., RunView], monkeypatch: pytest.MonkeyPatch, total: int | None, words: str
):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    view, shown = watched(make_run, trials=64, total=total)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    counts = re.findall(r"([\d,]+/[\d,]+\+?) +\d:\d\d:\d\d", plain)
    assert words.format(len(view.results)) == counts[-1]


def test_a_search_without_a_result_has_a_status():
    status = Progress(stream=io.StringIO(), clock=lambda: 0.0).status()
    assert "0 jobs, 0 epochs, 0 failed, no usable result yet" == status
