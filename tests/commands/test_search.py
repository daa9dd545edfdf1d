"""`spark-nas search` on real data: continued, interrupted and moved to other engines it is the same search."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy
import pytest
import torch

from spark_nas.commands.runs import Run
from spark_nas.search.records import JobKey, Result
from tests.commands.answers import Answer, Command

Search = Callable[..., Answer]
pytestmark = pytest.mark.spark

SEARCH = """\
space: {name: mlp, max_layers: 2, max_units: 32}
recipe: {learning_rate: {float: [1e-3, 1e-1], log: true}}
scheduler: {name: hyperband, max_resource: 3}
evaluator: {name: training, optimizer: adam}
engine: {name: local, threads: 1}
data: {path: DIGITS}
seed: 5
"""
JOBS = 6  # brackets of 3 -> 1 and of 2 trials


@pytest.fixture(scope="module")
def file(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("conf") / "small.yaml"
    path.write_text(SEARCH.replace("DIGITS", str(digits)))
    return path


@pytest.fixture
def search(file: Path, tmp_path: Path, command: Command):
    """`search("seed=2", run_id="x")` runs the small experiment with overrides into `tmp_path/x`."""

    def run(*overrides: str, run_id: str = "run") -> Answer:
        sets = [word for override in overrides for word in ("--set", override)]
        return command("search", file, "--output", tmp_path, "--run-id", run_id, "--keep-checkpoints", *sets)

    return run


@pytest.fixture(scope="module")
def uninterrupted(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of a search that nothing has disturbed, with all checkpoints. Never to be changed."""
    from spark_nas.cli import main

    output = tmp_path_factory.mktemp("whole")
    assert main(["search", str(file), "--output", str(output), "--run-id", "run", "--keep-checkpoints"]) == 0
    return output / "run"


def table(run: Path) -> dict[JobKey, str]:
    """The results table without times, places and versions."""

    def row(r: Result) -> str:
        curve = [(point.resource, point.loss, sorted(point.metrics.items())) for point in r.curve]
        return repr((r.job, r.status, r.loss, sorted(r.metrics.items()), curve, r.error))

    return {result.job.key: row(result) for result in results(run)}


def results(run: Path) -> list[Result]:
    return Run(str(run)).results()


def files(run: Path) -> Mapping[str, bytes]:
    """All files of a run, without who held it."""
    paths = [path for path in sorted(run.rglob("*")) if path.is_file() and path.parent.name != "_lease"]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def test_a_search_trains_each_job_and_shows_progress_and_the_leaderboard(search: Search, tmp_path: Path):
    answer = search()
    assert (0, "") == (answer.code, answer.err)
    assert [JOBS, {"completed"}] == [len(results(tmp_path / "run")), {r.status for r in results(tmp_path / "run")}]
    assert f"search ended: {JOBS}/{JOBS} jobs, 11 epochs, 0 failed, jobs by epochs 1:3 3:3, best loss" in answer.out
    assert answer.out.endswith(f"Run: {tmp_path}/run\n")


def test_curves_have_one_point_an_epoch_and_promotions_continue_them(uninterrupted: Path):
    by_key = {result.job.key: result for result in results(uninterrupted)}
    promoted = [result for result in by_key.values() if result.job.start_from]
    assert len(promoted) == 1
    for result in by_key.values():
        start = by_key[result.job.start_from].job.resource if result.job.start_from else 0
        assert list(range(start + 1, result.job.resource + 1)) == [point.resource for point in result.curve]


def test_training_learns(uninterrupted: Path):
    best = max(results(uninterrupted), key=lambda r: r.metrics.get("valid_accuracy", 1 - r.loss))
    assert best.loss < 0.2  # share of wrong answers; guessing has 0.9


def test_the_same_command_again_trains_nothing_and_changes_no_file(search: Search, uninterrupted: Path, tmp_path: Path):
    shutil.copytree(uninterrupted, tmp_path / "run")
    before = files(tmp_path / "run")
    again = search()
    assert (0, "") == (again.code, again.err)
    assert f"{JOBS}/{JOBS} jobs" in again.out
    assert before == files(tmp_path / "run")


@pytest.mark.parametrize("jobs", [1, 4])
def test_a_search_cut_by_its_budget_and_continued_equals_the_uninterrupted_one(
    search: Search, uninterrupted: Path, tmp_path: Path, jobs: int
):
    assert search(f"budget.jobs={jobs}").code == 0
    assert jobs == len(results(tmp_path / "run"))
    assert search().code == 0
    assert table(uninterrupted) == table(tmp_path / "run")


@pytest.mark.parametrize("rows", [0, 2, 5])
def test_a_search_whose_driver_died_trains_no_committed_job_again(
    search: Search, uninterrupted: Path, tmp_path: Path, rows: int
):
    shutil.copytree(uninterrupted, tmp_path / "run")
    for part in sorted((tmp_path / "run/results").iterdir())[rows:]:
        part.unlink()
    commits = {name: content for name, content in files(tmp_path / "run").items() if name.startswith("checkpoints")}
    assert search().code == 0
    assert table(uninterrupted) == table(tmp_path / "run")
    assert commits == {name: content for name, content in files(tmp_path / "run").items() if name in commits}
    assert len(commits) == 2 * JOBS


@pytest.mark.parametrize("rows", [0, 4])
def test_a_search_whose_last_commits_are_lost_too_trains_them_again_to_the_same_result(
    search: Search, uninterrupted: Path, tmp_path: Path, rows: int
):
    shutil.copytree(uninterrupted, tmp_path / "run")
    for result, part in list(zip(results(uninterrupted), sorted((tmp_path / "run/results").iterdir()), strict=True))[
        rows:
    ]:
        part.unlink()
        shutil.rmtree(tmp_path / f"run/checkpoints/{result.job.trial.trial_id:06d}/{result.job.rung}")
    assert search().code == 0
    assert table(uninterrupted) == table(tmp_path / "run")


@pytest.mark.parametrize(
    "engine",
    [
        "{name: local, slots: 3, threads: 1}",
        "{name: simulated, workers: 3, straggler_std: 0.5}",
        pytest.param("spark_rounds", marks=pytest.mark.slow),
        pytest.param("{name: spark_async, slots: 2}", marks=pytest.mark.slow),
    ],
)
def test_another_engine_gives_the_same_table(search: Search, uninterrupted: Path, tmp_path: Path, engine: str):
    assert search(f"engine={engine}").code == 0
    assert table(uninterrupted) == table(tmp_path / "run")


def test_a_run_may_be_continued_on_another_engine(search: Search, uninterrupted: Path, tmp_path: Path):
    assert search("budget.jobs=2").code == 0
    assert search("engine={name: simulated, workers: 2}").code == 0
    assert table(uninterrupted) == table(tmp_path / "run")


def test_another_seed_is_another_search(search: Search, uninterrupted: Path, tmp_path: Path):
    assert search("seed=6", "budget.jobs=2", run_id="other").code == 0
    ours, others = table(uninterrupted), table(tmp_path / "other")
    assert all(ours[key] != others[key] for key in others)


def test_run_json_says_what_made_the_run(uninterrupted: Path, digits: Path, file: Path):
    record = json.loads((uninterrupted / "run.json").read_text())
    assert record["run_id"] == "run"
    assert record["file"] == str(file)
    assert record["experiment"]["scheduler"] == {"name": "hyperband", "max_resource": 3}
    assert record["identity"]["seed"] == 5
    assert record["identity"]["scheduler"]["rounding"] == "pseudocode"  # defaults are there too
    assert record["identity"]["data"] == json.loads((digits / "descriptor.json").read_text())["fingerprint"]
    assert record["max_resource"] == 3
    assert (record["versions"]["numpy"], record["environment"]["torch"]) == (numpy.__version__, torch.__version__)
    assert len(record["code_revision"]) >= 7
    assert record["created_at"].endswith("+00:00")


def test_rows_carry_the_seed_place_and_time_of_their_job(uninterrupted: Path):
    rows = results(uninterrupted)
    assert len({r.job.trial.seed for r in rows}) == len({r.job.trial.trial_id for r in rows}) == 5
    assert all(r.seconds > 0 and r.started_at.year > 2000 and "/" in r.executor for r in rows)
    assert {r.environment["torch"] for r in rows} == {torch.__version__}


def test_checkpoints_that_nobody_can_need_are_deleted_and_the_best_one_is_kept(
    file: Path, uninterrupted: Path, tmp_path: Path, command: Command
):
    assert command("search", file, "--output", tmp_path, "--run-id", "run").code == 0
    assert table(uninterrupted) == table(tmp_path / "run")
    best = min(results(uninterrupted), key=lambda r: (-r.job.resource, r.loss)).job.key
    left = list((tmp_path / "run/checkpoints").rglob("*.pt"))
    assert [f"{best.trial_id:06d}/{best.rung}"] == ["/".join(path.parts[-3:-1]) for path in left]
    assert len(list((tmp_path / "run/checkpoints").rglob("commit.json"))) == JOBS
