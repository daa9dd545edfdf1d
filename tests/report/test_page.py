"""`report.html`: self-contained, harmless, and drawn by a real browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from spark_nas.report.figures import recipes
from spark_nas.report.page import render
from spark_nas.report.template import SCRIPT
from spark_nas.report.view import RunView

HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"
FIGURES = {"incumbent", "curves", "occupancy", "timeline", "recipes"}


@pytest.fixture(scope="session")
def page_of(make_run: Callable[..., RunView]) -> Callable[..., str]:
    """`page_of(64, workers=9)` is the page of that run; it is made once, as drawing takes a second."""
    return cache(lambda *trials, **options: render(make_run(*trials, **options)))


def drawn(page: str) -> set[str]:
    return set(re.findall(r'data-figure="(\w+)"', page))


LARGE: dict[str, Any] = {"trials": 1000, "workers": 60}
SIZES: list[dict[str, Any]] = [
    {"trials": 10, "max_resource": 8},
    {"trials": 100, "choices": True},
    LARGE,
    {"hyperband": 27},
]


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_every_figure_is_there_and_the_file_stays_small(page_of: Callable[..., str], options: dict[str, Any]):
    page = page_of(**options)
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


def test_nothing_refers_to_the_network(page_of: Callable[..., str]):
    page = page_of(trials=100, choices=True)
    head = page[: page.index("<script")]
    assert not re.search(r'(src|href)="(?!#)', head)
    assert "default-src 'none'" in head


def test_the_retrained_winner_is_a_headline(make_run: Callable[..., RunView]):
    page = render(replace(make_run(64), retrained={"test_accuracy": 0.9778}))
    assert "97.78%" in page


TRAINING = {"name": "training"}
DARTS_LIKE = {f"block {i} convolution of the cell": {"float": [0.1, 1.0 + i]} for i in range(8)}


def tiles(page: str) -> dict[str, str]:
    """The small print of each headline number, by its name."""
    return dict(re.findall(r"<dt>(.*?)</dt>.*?<div class=\"detail\">(.*?)</div>", page))


def measured(view: RunView, **record: object) -> RunView:
    """The run with the evaluator's usual metrics, and with this added to its record."""
    rows = [replace(r, metrics={"valid_loss": 0.3, "valid_error": 0.1}) for r in view.results]
    return replace(view, results=rows, record={**view.record, **record})


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (
            {"experiment": {"evaluator": TRAINING}},
            ["best validation error (the objective)", "validation cross-entropy"],
        ),
        (
            {"identity": {"evaluator": {**TRAINING, "objective": "loss"}}, "experiment": {"evaluator": TRAINING}},
            ["best validation cross-entropy (the objective)", "trials"],
        ),
        (
            {"experiment": {"evaluator": "training"}},
            ["best validation error (the objective)", "validation cross-entropy"],
        ),
        (
            {"experiment": {"evaluator": {**TRAINING, "objective": ["unheard of"]}}},
            ["best validation loss", "valid loss"],
        ),
        ({"experiment": {"evaluator": {"name": "tabular"}}}, ["best validation loss", "valid loss"]),
        ({}, ["best validation loss", "valid loss"]),
    ],
    ids=[
        "error by default",
        "cross-entropy, once",
        "only a name",
        "another objective",
        "another evaluator",
        "no word of it",
    ],
)
def test_the_best_loss_is_called_by_what_it_measures(
    make_run: Callable[..., RunView], record: dict[str, Any], names: list[str]
):
    page = render(measured(make_run(20, max_resource=8), **record))
    assert names == list(tiles(page))[:2]
    axis = names[0].removeprefix("best ").removesuffix(" (the objective)")
    assert f'"text":"{axis}"' in page
    assert f'"text":"{axis}, best so far"' in page
    assert ("the objective of the search" in page) == ("objective" in names[0])


def test_the_best_loss_of_no_trial_has_its_name_too(make_run: Callable[..., RunView]):
    page = render(RunView("r", {"experiment": {"evaluator": TRAINING}}, []))
    assert tiles(page)["best validation error (the objective)"] == "no trial completed"


def test_the_wall_time_says_from_when_to_when(make_run: Callable[..., RunView]):
    detail = tiles(render(make_run(20, max_resource=8)))["wall time"]
    assert detail.startswith("from the first job&#x27;s start to the last one&#x27;s end; first full model after ")


def test_long_titles_of_axes_are_tilted_and_whole_or_named_below(make_run: Callable[..., RunView]):
    drawn = recipes.draw(make_run(64, recipe=DARTS_LIKE))
    titles = [note for note in drawn.figure.layout.annotations if note.text.startswith("<b>")]
    assert {-20} == {note.textangle for note in titles}
    assert [f"<b>{name}</b>" for name in DARTS_LIKE] == [note.text for note in titles[:8]]
    assert "cut above" not in drawn.caption
    word = "a" * 60
    drawn = recipes.draw(make_run(64, recipe={word: {"float": [0.1, 1.0]}}))
    assert f"cut above: {word}." in drawn.caption


def test_short_titles_of_axes_stay_level(make_run: Callable[..., RunView]):
    drawn = recipes.draw(make_run(64, recipe={"rate": {"float": [0.1, 1.0]}}))
    assert {None} == {note.textangle for note in drawn.figure.layout.annotations}


def hostile(view: RunView) -> RunView:
    first, *rest = view.results
    trial = replace(first.job.trial, recipe={**first.job.trial.recipe, "activation": HOSTILE, HOSTILE: 1})
    bad = replace(first, job=replace(first.job, trial=trial), status="failed", error=HOSTILE, executor=HOSTILE)
    worst = replace(
        bad, status="completed", error=None, loss=-1.0, metrics={}, job=replace(bad.job, resource=999, rung=9)
    )
    record = {**view.record, "name": HOSTILE, HOSTILE: HOSTILE, "experiment": {"space": {"name": HOSTILE}}}
    return RunView(HOSTILE, record, [bad, worst, *rest])


@pytest.fixture(scope="session")
def hostile_page(make_run: Callable[..., RunView]) -> str:
    return render(hostile(make_run(64)))


def test_hostile_text_is_escaped_everywhere(hostile_page: str):
    assert "<script>document" not in hostile_page
    assert "<img" not in hostile_page[: hostile_page.index("<script")]


@pytest.fixture(scope="session")
def browser():
    name = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if name is None:
        pytest.skip("no chromium here: install one to see the page drawn")
    return name


def opened(browser: str, tmp_path: Path, page: str, size: str = "1400,5000") -> tuple[str, str]:
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
        f"--window-size={size}",
        "--virtual-time-budget=10000",
        "--enable-logging=stderr",
    ]
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = [browser, *flags, profile, (tmp_path / "report.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    console = "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    return done.stdout, console


@pytest.mark.slow
def test_a_browser_draws_every_figure_without_a_word_on_the_console(
    page_of: Callable[..., str], browser: str, tmp_path: Path
):
    document, console = opened(browser, tmp_path, page_of(**LARGE))
    assert set(re.findall(r'id="plot-(\w+)"[^>]*data-drawn="yes"', document)) == FIGURES
    assert "main-svg" in document
    assert console == ""


@pytest.mark.slow
def test_hostile_text_does_not_run_in_a_browser_which_draws_every_figure(
    hostile_page: str, browser: str, tmp_path: Path
):
    document, console = opened(browser, tmp_path, hostile_page)
    assert "<title>owned" not in document
    assert console == ""
    assert set(re.findall(r'id="plot-(\w+)"[^>]*data-drawn="yes"', document)) == FIGURES
    assert "main-svg" in document


RULER = """
setTimeout(function () {
  var root = document.documentElement, boxes = {}, bars = 0;
  document.querySelectorAll(".chart").forEach(function (chart) {
    boxes[chart.firstElementChild.id] = [chart.firstElementChild.scrollWidth, chart.clientWidth];
  });
  document.querySelectorAll(".modebar").forEach(function (bar) { bars += bar.getClientRects().length; });
  root.dataset.ruler = JSON.stringify({page: root.scrollWidth, window: window.innerWidth, bars: bars,
    drag: document.getElementById("plot-curves")._fullLayout.dragmode, charts: boxes});
}, 3000);
"""


def digest(script: str) -> str:
    """By which the page's policy allows a script."""
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def laid_out(browser: str, tmp_path: Path, page: str, width: int):
    """What a browser with a window of this width makes of the page, in pixels."""
    for text in (lambda script: script, digest):
        assert page.count(text(SCRIPT)) == 1
        page = page.replace(text(SCRIPT), text(SCRIPT + RULER))
    document, console = opened(browser, tmp_path, page, f"{width},2600")
    assert console == ""
    found = re.search(r'data-ruler="(.*?)"', document)
    assert found is not None
    return json.loads(html.unescape(found[1]))


@pytest.mark.slow
def test_on_a_telephone_the_charts_scroll_and_the_page_does_not(
    page_of: Callable[..., str], browser: str, tmp_path: Path
):
    sizes = laid_out(browser, tmp_path, page_of(trials=100, choices=True), 420)
    assert sizes["window"] <= 500
    assert sizes["page"] <= sizes["window"]
    assert (sizes["bars"], sizes["drag"]) == (0, False)
    assert set(sizes["charts"]) == {f"plot-{name}" for name in FIGURES}
    assert all(least >= 640 and shown < sizes["window"] for least, shown in sizes["charts"].values())


@pytest.mark.slow
def test_on_a_desk_nothing_scrolls_sideways(page_of: Callable[..., str], browser: str, tmp_path: Path):
    sizes = laid_out(browser, tmp_path, page_of(trials=100, choices=True), 1280)
    assert sizes["page"] <= sizes["window"]
    assert sizes["bars"] > 0
    assert sizes["drag"] == "zoom"
    assert all(inner <= shown for inner, shown in sizes["charts"].values())
