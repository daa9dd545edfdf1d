"""What `benchmarks/scale.py` times is the real thing: it plans, runs, replays and reports what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from benchmarks.measure import alone
from benchmarks.scale import decisions, driver_loop, replay_rows, report, results_and_leaderboard
from benchmarks.workload import SCHEDULERS, InMemory, store_run
from spark_nas.search.records import SUPERNET, Job, Trial


@pytest.mark.parametrize("name", SCHEDULERS)
def test_the_driver_carries_out_what_the_scheduler_plans(name: str):
    trials = 300
    planned = sum(bracket.jobs for bracket in SCHEDULERS[name](trials).plan())
    jobs = driver_loop(name, trials)["jobs"]
    if name in ("ASHA", "asynchronous Hyperband", "stopping"):  # who promotes early promotes some more, or some less
        assert 0.8 * planned < jobs < 1.3 * planned
    else:
        assert planned * getattr(SCHEDULERS[name](trials), "iterations", 1) == jobs


def test_every_job_comes_back_once_in_the_order_of_its_end():
    engine = InMemory(2, curves=True)
    jobs = [Job(Trial(number, SUPERNET, seed=number + 1), 0, 3 - number) for number in range(3)]
    engine.submit(jobs)
    results = engine.wait()
    assert {job.key for job in jobs} == {result.job.key for result in results}
    ends = [result.started_at.timestamp() + result.seconds for result in results]
    assert sorted(ends) == ends
    assert 2 == len({result.executor for result in results})


def test_a_stored_run_replays_to_its_end_and_reports(tmp_path: Path):
    folder = tmp_path / "asha-200"
    rows = store_run(folder, 200, workers=16)
    assert rows == replay_rows(folder, 200)["jobs"]
    assert {"jobs": rows, "rows": 10}.items() <= results_and_leaderboard(folder).items()
    assert report(folder)["megabytes"] < 10
    assert "200" in (folder / "report" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_asha_decides_about_100000_trials_in_300_megabytes():
    took = alone(decisions, "ASHA", 100_000)
    assert took.numbers["jobs"] == pytest.approx(150_000, rel=0.05)
    assert took.peak < 300


@pytest.fixture(scope="module")
def large_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A finished run of 3,000 trials, and its number of rows: more than are read at a time, or drawn."""
    folder = tmp_path_factory.mktemp("scale") / "asha-3000"
    return folder, store_run(folder, 3_000)


@pytest.mark.slow
def test_every_row_of_a_large_run_replays(large_run: tuple[Path, int]):
    folder, rows = large_run
    assert rows > 4_000
    assert rows == replay_rows(folder, 3_000)["jobs"]


@pytest.mark.slow
def test_the_report_of_a_large_run_says_how_much_of_it_is_shown_and_stays_small(large_run: tuple[Path, int]):
    page = report(large_run[0])
    assert page["megabytes"] < 1.2 + len(get_plotlyjs()) / 1e6  # which is a part of it
    text = (large_run[0] / "report" / "report.html").read_text(encoding="utf-8")
    assert "150 of 3,000 trials are shown" in text
    assert "1,000 of 3,000 trials are shown" in text
