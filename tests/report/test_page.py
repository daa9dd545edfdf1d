"""`report.html`: self-contained, harmless, and drawn by a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spark_nas.report.page import render
from spark_nas.report.view import RunView

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FIGURES = {"incumbent", "curves", "occupancy", "timeline", "recipes"}


def drawn(page: str) -> set[str]:
    return set(re.findall(r'data-figure="(\w+)"', page))


SIZES: list[dict[str, Any]] = [
    {"trials": 10, "max_resource": 8},
    {"trials": 100, "choices": True},
    {"trials": 1000, "workers": 60},
    {"hyperband": 27},
]


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_every_figure_is_there_and_the_file_stays_small(make_run: Callable[..., RunView], options: dict[str, Any]):
    page = render(make_run(**options))
    assert drawn(page) == FIGURES
    assert len(page) < 8_000_000


def test_a_run_without_hyperparameters_says_so(make_run: Callable[..., RunView]):
    page = render(make_run(20, max_resource=8, recipe={}))
    assert drawn(page) == FIGURES - {"recipes"}
    assert "No hyperparameter and no choice varies" in page


def test_a_run_of_failures_only_still_has_a_page(make_run: Callable[..., RunView]):
    view = make_run(64)
    failed = [
        replace(r, status="failed", loss=float("nan"), curve=(), error="OSError: disk\ntraceback") for r in view.results
    ]
    page = render(RunView("r", view.record, failed))
    assert drawn(page) == {"occupancy", "timeline", "recipes"}
    assert "OSError: disk" in page
    assert "no trial completed" in page


def test_an_empty_run_has_a_page():
    assert drawn(render(RunView("r", {}, []))) == set()


def test_one_rung_is_enough(make_run: Callable[..., RunView]):
    view = make_run(64)
    first = [result for result in view.results if result.job.rung == 0]
    assert drawn(render(RunView("r", view.record, first))) == FIGURES


def test_nothing_refers_to_the_network(make_run: Callable[..., RunView]):
    page = render(make_run(64))
    head = page[: page.index("<script")]
    assert not re.search(r'(src|href)="(?!#)', head)
    assert "default-src 'none'" in head


def test_the_retrained_winner_is_a_headline(make_run: Callable[..., RunView]):
    page = render(replace(make_run(64), retrained={"test_accuracy": 0.9778}))
    assert "97.78%" in page


def hostile(view: RunView) -> RunView:
    first, *rest = view.results
    trial = replace(first.job.trial, recipe={**first.job.trial.recipe, "activation": HOSTILE, HOSTILE: 1})
    bad = replace(first, job=replace(first.job, trial=trial), status="failed", error=HOSTILE, executor=HOSTILE)
    worst = replace(
        bad, status="completed", error=None, loss=-1.0, metrics={}, job=replace(bad.job, resource=999, rung=9)
    )
    record = {**view.record, "name": HOSTILE, HOSTILE: HOSTILE, "experiment": {"space": {"name": HOSTILE}}}
    return RunView(HOSTILE, record, [bad, worst, *rest])


def test_hostile_text_is_escaped_everywhere(make_run: Callable[..., RunView]):
    page = render(hostile(make_run(64)))
    assert "<script>document" not in page
    assert "<img" not in page[: page.index("<script")]


@pytest.fixture(scope="session")
def browser():
    name = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if name is None:
        pytest.skip("no chromium here: install one to see the page drawn")
    return name


def opened(browser: str, tmp_path: Path, page: str) -> tuple[str, str]:
    """The page's document after its scripts ran, and what it said on the console."""
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--dump-dom",
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1400,5000",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, *flags, profile, (tmp_path / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console


@pytest.mark.slow
@pytest.mark.parametrize("trials", [64, 1000])
def test_a_browser_draws_every_figure_without_a_word_on_the_console(
    make_run: Callable[..., RunView], browser: str, tmp_path: Path, trials: int
):
    document, console = opened(browser, tmp_path, render(make_run(trials)))
    assert set(re.findall(r'id="plot-(\w+)"[^>]*data-drawn="yes"', document)) == FIGURES
    assert "main-svg" in document
    assert console == ""


@pytest.mark.slow
def test_hostile_text_does_not_run_in_a_browser(make_run: Callable[..., RunView], browser: str, tmp_path: Path):
    document, console = opened(browser, tmp_path, render(hostile(make_run(64))))
    assert "<title>owned" not in document
    assert console == ""
    assert len(re.findall(r'data-drawn="yes"', document)) == len(FIGURES)
