"""What a notebook shows, in a real IPython shell."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from traitlets.config import Config

from spark_nas.report.notebook import NotebookBar, in_notebook, leaderboard_html
from spark_nas.report.progress import Progress
from spark_nas.report.view import RunView

MakeRun = Callable[..., RunView]


@pytest.fixture
def shell() -> Iterator[InteractiveShell]:
    """IPython on a terminal, as `ipython` starts it; without a history."""
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def kernel(shell: InteractiveShell) -> InteractiveShell:
    """The same as a kernel has it: the shell knows its kernel."""
    shell.kernel = shell
    return shell


def test_plain_python_and_a_terminal_are_no_notebooks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(__import__("sys").modules, "IPython")
    assert not in_notebook()


def test_ipython_on_a_terminal_is_no_notebook(shell: InteractiveShell):
    assert not in_notebook()


def test_a_kernel_is_a_notebook(kernel: InteractiveShell):
    assert in_notebook()


def test_the_progress_shows_one_bar_and_leaves_the_log_below_it(kernel: InteractiveShell, make_run: MakeRun):
    with capture_output() as shown:
        progress = Progress(total_jobs=22)
        make_run(hyperband=9, workers=50, divergence=0.0, drop=0.0, observer=progress)
    ends = [line for line in shown.stdout.splitlines() if "in flight" not in line]
    rounds = ["9/22", "12/22", "13/22", "18/22", "19/22", "22/22"]
    assert [*rounds, "search ended: 22/22"] == [line.split(" jobs")[0] for line in ends]
    first, *later = shown.outputs
    assert "0/22 jobs" in first.data["text/html"]
    assert '<progress value="22" max="22"' in later[-1].data["text/html"]
    assert "best loss" in later[-1].data["text/html"]
    assert {first.transient["display_id"]} == {output.transient["display_id"] for output in later}
    assert (False, {True}) == (first.update, {output.update for output in later})


def test_a_log_that_is_a_stream_gets_no_bar(kernel: InteractiveShell, make_run: MakeRun):
    stream = io.StringIO()
    with capture_output() as shown:
        make_run(trials=64, observer=Progress(total_jobs=10, stream=stream))
    assert ([], "") == (shown.outputs, shown.stdout)
    assert "search ended" in stream.getvalue()


def test_the_bar_is_drawn_at_most_twice_a_second_and_at_the_end(kernel: InteractiveShell):
    now = [0.0]
    with capture_output() as shown:
        bar = NotebookBar(None, clock=lambda: now[0])
        for done, moment in enumerate([0.0, 0.1, 0.3, 0.6, 0.7]):
            now[0] = moment
            bar.show(done, done + 1, "", [])
        bar.stop()
    assert ["0/1", "3/4", "4/5"] == [
        o.data["text/html"].split("</progress> ")[1].split(" jobs")[0] for o in shown.outputs
    ]


def test_more_jobs_than_expected_are_the_total_of_the_bar(kernel: InteractiveShell):
    with capture_output() as shown:
        NotebookBar(17).show(17, 18, "", [])
    page = shown.outputs[0].data["text/html"]
    assert '<progress value="17" max="18"' in page
    assert "17/18+ jobs" in page


def test_no_text_of_a_run_becomes_markup(kernel: InteractiveShell, make_run: MakeRun):
    with capture_output() as shown:
        bar = NotebookBar(3)
        bar.show(1, 1, "<script>", ["<b>&"])
    assert "&lt;script&gt;" in shown.outputs[0].data["text/html"]
    assert "<b>" not in shown.outputs[0].data["text/html"]
    view = make_run(trials=64, recipe={"name": {"choice": ["<img src=x onerror=alert(1)>", "a&b"]}})
    page = leaderboard_html(view, 3)
    assert "name=&lt;img src=x onerror=alert(1)&gt;" in page
    assert "name=a&amp;b" in page
    assert "<img" not in page
    assert 1 + 2 == page.count("<tr>")


def test_a_run_without_a_result_says_so():
    assert "No trial completed" in leaderboard_html(RunView("x", {}, []), 3)
