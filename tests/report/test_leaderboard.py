"""The incumbent and the leaderboard."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest

from spark_nas.report.leaderboard import incumbent, leaderboard, print_leaderboard
from spark_nas.report.view import RunView
from spark_nas.search.records import Architecture, Job, Result, Trial


def result(trial: int, rung: int, loss: float, status: str = "completed", seconds: float = 1.0) -> Result:
    job = Job(Trial(trial, Architecture(), {"lr": 0.1 * (trial + 1)}), rung, 3**rung)
    return Result(job, status, loss, error=None if status == "completed" else "boom", seconds=seconds)  # type: ignore[arg-type]


def test_incumbent_is_best_at_the_highest_resource_not_best_anywhere():
    low, high, worse = result(0, 0, 0.01), result(1, 1, 0.5), result(2, 1, 0.6)
    assert high == incumbent([low, worse, high])


def test_incumbent_tie_goes_to_the_earlier_trial():
    later, earlier = result(5, 1, 0.5), result(2, 1, 0.5)
    assert earlier == incumbent([later, earlier])


def test_failed_and_non_finite_results_are_never_incumbent():
    assert incumbent([result(0, 1, float("nan")), result(1, 2, 0.1, "failed")]) is None


def test_leaderboard_has_each_trial_once_by_its_last_usable_result_with_all_its_seconds():
    rows = leaderboard([result(0, 0, 0.3), result(0, 1, 0.2), result(1, 0, 0.1), result(1, 1, 0.1, "failed")], 10)
    assert [(1, 0, 0.2, 3, 2.0), (2, 1, 0.1, 1, 2.0)] == [
        (r.rank, r.trial, r.loss, r.resource, r.seconds) for r in rows
    ]


def test_leaderboard_is_as_long_as_asked():
    assert 3 == len(leaderboard([result(i, 0, i) for i in range(9)], 3))


def test_plain_leaderboard_is_aligned_and_has_no_escape_codes(make_run: Callable[..., RunView]):
    stream = io.StringIO()
    print_leaderboard(make_run(64), 5, stream)
    lines = stream.getvalue().splitlines()
    assert 6 == len(lines)
    assert "\x1b" not in stream.getvalue()
    assert 1 == len({line.find("activation=") for line in lines[1:]})


def test_terminal_leaderboard_shows_markup_of_names_as_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    hostile = replace(result(0, 0, 0.5), job=Job(Trial(0, Architecture(), {"lr": "[red]x[/nothing]"}), 0, 1))
    stream = io.StringIO()
    print_leaderboard(RunView("r", {}, [hostile]), 5, stream)
    assert "[red]x[/nothing]" in stream.getvalue()


def test_leaderboard_of_a_run_without_completed_trials_says_so():
    stream = io.StringIO()
    print_leaderboard(RunView("r", {}, [result(0, 0, 0.1, "failed")]), 5, stream)
    assert "no trial completed\n" == stream.getvalue()
