"""The numbers of a run, and the clock without pauses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from spark_nas.report.summary import busy_steps, rungs, summarise
from spark_nas.report.view import RunView, duration
from spark_nas.search.schedulers.hyperband import Hyperband


def test_spent_counts_only_what_promotions_added(make_run: Callable[..., RunView]):
    view = make_run(hyperband=27, divergence=0.0, drop=0.0)
    brackets = Hyperband(max_resource=27).plan()
    expected = 0
    for bracket in brackets:
        steps = (now - before for now, before in zip(bracket.resources, (0, *bracket.resources), strict=False))
        expected += sum(size * step for size, step in zip(bracket.sizes, steps, strict=True))
    assert expected == summarise(view).spent


def test_rungs_of_hyperband_are_its_plan(make_run: Callable[..., RunView]):
    view = make_run(hyperband=27, divergence=0.0, drop=0.0)
    expected = [
        (index, rung, resource, size)
        for index, bracket in enumerate(Hyperband(max_resource=27).plan())
        for rung, (size, resource) in enumerate(zip(bracket.sizes, bracket.resources, strict=True))
    ]
    assert expected == [(*entry.brackets, entry.rung, entry.resource, entry.jobs) for entry in rungs(view)]


def test_synchronous_halving_makes_no_promotion_it_regrets_and_asha_some(make_run: Callable[..., RunView]):
    assert 0 == sum(rung.overtaken for rung in rungs(make_run(hyperband=27)))
    assert 0 < sum(rung.overtaken for rung in rungs(make_run(300)))


def test_many_brackets_of_one_shape_are_shown_together(make_run: Callable[..., RunView]):
    once = make_run(hyperband=9)
    again = []
    for i in range(4):
        for row in once.results:
            old = row.job.trial
            trial = replace(old, trial_id=old.trial_id + 1000 * i, bracket=old.bracket + 3 * i)
            again.append(replace(row, job=replace(row.job, trial=trial, start_from=None)))
    many = RunView("r", {}, again)
    assert [(0, 3, 6, 9)] * 3 == [entry.brackets for entry in rungs(many)][:3]
    assert len(again) == sum(entry.jobs for entry in rungs(many))


def test_no_more_workers_are_busy_than_there_are(make_run: Callable[..., RunView]):
    assert 8 == summarise(make_run(100, workers=8)).workers


def test_busy_steps_end_at_nobody():
    assert [1, 2, 1, 0] == [count for _, count in busy_steps([(0.0, 2.0), (1.0, 3.0)])]


def test_a_night_between_two_halves_is_a_pause_and_not_wall_time(make_run: Callable[..., RunView]):
    view = make_run(64, workers=1)
    half = len(view.results) // 2
    night = timedelta(hours=9)
    rows = [
        replace(r, started_at=r.started_at + (night if i >= half else timedelta())) for i, r in enumerate(view.results)
    ]
    resumed = summarise(RunView("r", {}, rows))
    assert summarise(view).wall == pytest.approx(resumed.wall)
    assert night.total_seconds() == pytest.approx(resumed.paused)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0 s"), (4.21, "4.21 s"), (59.6, "60 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (273_600, "3 d 4 h")],
)
def test_durations_read_as_one_says_them(seconds: float, words: str):
    assert words == duration(seconds)
