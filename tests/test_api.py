"""The Python API: what it returns, how it ends, and what it leaves alone."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

import spark_nas
from spark_nas import Budget, FullTraining, Hyperband, Mlp, Retrain, StorageOptions, Synthetic, Training
from spark_nas.errors import OutputError, SearchFailed, SparkNasError, Unfinished
from spark_nas.storage.results import COLUMNS
from tests.own_components import Counting, Pairs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SMALL: dict[str, Any] = {"space": Mlp(max_layers=2), "scheduler": Hyperband(max_resource=3), "evaluator": Synthetic()}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> spark_nas.Run:
    """A finished run of six jobs; never to be changed."""
    return spark_nas.search(**SMALL, output=tmp_path_factory.mktemp("runs"), run_id="six")


def test_the_leaderboard_is_the_last_row_of_each_trial_best_first(run: spark_nas.Run):
    last = run.results.sort_values("rung").groupby("trial_id").last()
    expected = last.sort_values(["resource", "loss"], ascending=[False, True])
    board = run.leaderboard
    assert list(expected.index) == list(board.trial)
    assert list(expected.loss) == list(board.loss)
    assert ("rank", [1, 2, 3, 4, 5]) == (board.index.name, list(board.index))
    assert {"recipe.learning_rate", "recipe.layers", "architecture"} <= set(board.columns)
    assert board is run.leaderboard


def test_results_are_the_whole_table(run: spark_nas.Run):
    table = run.results
    assert [name for name, _, _ in COLUMNS] == list(table.columns)
    assert 6 == len(table)
    assert [r.loss for r in run.view.results] == list(table.loss)
    assert all(isinstance(metrics, dict) for metrics in table.metrics)


def test_the_best_is_the_first_of_the_leaderboard_in_plain_objects(run: spark_nas.Run):
    first = run.leaderboard.iloc[0]
    best = run.best
    assert (first.trial, first.loss, first.resource) == (best.trial_id, best.loss, best.resource)
    assert first["recipe.learning_rate"] == best.recipe["learning_rate"]
    assert (dict, dict, {}) == (type(best.recipe), type(best.architecture), best.architecture)


def test_a_notebook_shows_the_leaderboard_and_a_terminal_one_line(run: spark_nas.Run):
    shown = run._repr_html_()
    assert shown.startswith("<p><b>six</b>: 6 jobs, 5 trials, best loss ")
    assert 1 + 5 == shown.count("<tr>")
    assert repr(run).startswith(f"Run('{run.location}': 6 jobs, 5 trials, best loss")


def test_figures_are_those_of_the_report(run: spark_nas.Run):
    assert ["incumbent", "learning curves", "rungs", "workers", "recipes"] == list(run.figures)
    assert len(run.figures["rungs"].data) > 0


def test_a_report_is_a_page_in_the_runs_folder(run: spark_nas.Run):
    for write in (run.report, partial(spark_nas.report, run, top=3), partial(spark_nas.report, run.location)):
        report = write()
        assert f"{run.location}/report/report.html" == report.location
        assert Path(report.location).read_bytes().decode() == report.html
    assert f'<a href="{report.location}" target="_blank">' in report._repr_html_()
    assert len(repr(report)) < 1000


def test_sections_take_the_place_of_those_of_a_file(tmp_path: Path):
    file = tmp_path / "small.yaml"
    file.write_text("{space: mlp, scheduler: hyperband, evaluator: synthetic, seed: 3}")
    fixed = MappingProxyType({"dropout": 0.0})
    sections: dict[str, Any] = {"scheduler": FullTraining(trials=5, max_resource=2), "budget": Budget(jobs=2)}
    sections |= {"retrain": Retrain(epochs=4), "recipe": fixed, "storage": StorageOptions(max_attempts=2)}
    run = spark_nas.search(str(file), **sections, output=tmp_path)
    assert ("small", 2, 3) == (run.run_id, len(run.results), run.record["identity"]["seed"])
    experiment = run.opened.experiment
    assert (Budget(jobs=2), Retrain(epochs=4)) == (experiment.budget, experiment.retrain)
    assert {0.0} == set(run.leaderboard["recipe.dropout"])
    assert 2 == experiment.storage.max_attempts
    again = spark_nas.load_run(run.location, storage=StorageOptions(max_attempts=7))
    assert 7 == again.opened.experiment.storage.max_attempts
    other = spark_nas.load_run(run.location, storage=StorageOptions(read_seconds=5.0)).opened.experiment.storage
    assert StorageOptions(max_attempts=2, read_seconds=5.0) == other
    mapping = {"space": "mlp", "scheduler": {"name": "hyperband", "max_resource": 3}, "evaluator": "synthetic"}
    assert 6 == len(spark_nas.search(mapping, output=tmp_path).results)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"space": Mlp}, "space: <class .*>: give a name, a mapping, or an options dataclass"),
        ({"space": {"name": "mlp", "max_layers": object()}}, "space: .*: give a name, a mapping, or an options"),
        ({"space": 3}, "<experiment>: space: 3: must be a name, or a mapping"),
        ({"scheduler": "ashes"}, "scheduler.name: 'ashes': unknown scheduler; did you mean 'asha'"),
        ({"evaluator": Training()}, "data: None: training needs a data set"),
        ({"evaluator": Training(), "data": "/nowhere"}, "/nowhere: no such data folder"),
        ({"recipe": {"dropout": {"float": [1, 0]}}}, "recipe.dropout"),
        ({"run_id": "../x"}, "run id '../x'"),
        ({"run_id": 5}, "run id 5: use letters, digits"),
        ({"recipe": {"a": {"choice": ["\ud800", "b"]}}}, r"recipe.a.choice\[0\]: '\\ud800': holds half a character"),
        ({"time_budget": -1.0}, "time_budget: -1.0: give seconds greater than 0"),
        ({"experiment": 3}, "experiment: 3: give a file, or a mapping of sections"),
        ({"experiment": "no/such.yaml"}, "no/such.yaml: experiment file: 'no/such.yaml': cannot be read"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(wrong: dict[str, Any], message: str, tmp_path: Path):
    with pytest.raises(SparkNasError, match=message) as caught:
        spark_nas.search(**{**SMALL, "output": tmp_path, **wrong})
    assert [f"{type(caught.value).__name__}: {caught.value}"] == caught.value._render_traceback_()
    assert 1 == len(str(caught.value).splitlines())


def test_a_run_that_is_none_is_refused(tmp_path: Path):
    for function in (spark_nas.load_run, spark_nas.report, spark_nas.retrain):
        with pytest.raises(OutputError, match="no run has begun here"):
            function(tmp_path)


def test_a_run_without_a_usable_result_has_no_best(tmp_path: Path):
    diverging = {"scheduler": FullTraining(trials=2, max_resource=1), "evaluator": Synthetic(divergence=1.0)}
    with pytest.raises(SearchFailed, match="no trial completed"):
        spark_nas.search(**SMALL | diverging, output=tmp_path, run_id="x")
    run = spark_nas.load_run(tmp_path / "x")
    assert (None, 0) == (run.best, len(run.leaderboard))
    assert ["trial", "loss", "resource", "bracket", "rung", "seconds", "architecture"] == list(run.leaderboard.columns)
    assert "No trial completed" in run._repr_html_()
    assert isinstance(run.leaderboard, pd.DataFrame)


# ------------------------------------------------------------------------------------------------ interrupts


def counted(tmp_path: Path, name: str, interrupts: int) -> dict[str, Any]:
    evaluator = Counting(str(tmp_path / f"{name} was interrupted"), at=3, interrupts=interrupts)
    scheduler = FullTraining(trials=6, max_resource=1)
    sections = {"space": Pairs([f"option {i}" for i in range(5)]), "scheduler": scheduler, "evaluator": evaluator}
    return {**sections, "output": tmp_path, "run_id": name}


def test_an_interrupted_search_ends_in_order_and_the_same_call_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Unfinished, match=r"stopped \(interrupted\) after 4 jobs, 0 in flight"):
        spark_nas.search(**counted(tmp_path, "a", 1))
    assert before is signal.getsignal(signal.SIGINT)
    assert "interrupted: jobs in flight may take 60 s more; interrupt again to end at once\n" in capsys.readouterr().out
    first = spark_nas.load_run(tmp_path / "a").view.results
    assert [0, 1, 2, 3] == [result.job.trial.trial_id for result in first]
    whole = spark_nas.search(**counted(tmp_path, "a", 1)).view.results
    assert first == whole[:4]
    undisturbed = spark_nas.search(**counted(tmp_path, "b", 0)).view.results
    assert [result.job for result in undisturbed] == [result.job for result in whole]


def test_a_second_interrupt_ends_at_once_and_loses_only_the_job_that_ran(tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        spark_nas.search(**counted(tmp_path, "a", 2))
    assert 3 == len(spark_nas.load_run(tmp_path / "a").results)
    assert 6 == len(spark_nas.search(**counted(tmp_path, "a", 2)).results)


# ------------------------------------------------------------------------------------------------ Spark


@pytest.mark.spark
@pytest.mark.slow
def test_a_session_that_is_given_is_used_and_left_open(spark: SparkSession, tmp_path: Path):
    data = spark_nas.prepare_data("digits", tmp_path / "digits", shards_per_split=1, spark=spark)
    assert data == spark_nas.prepare_data(["digits"], tmp_path / "digits", if_missing=True)
    run = spark_nas.search(
        space=Mlp(max_layers=1, max_units=32),
        scheduler=FullTraining(trials=2, max_resource=2),
        evaluator=Training(optimizer="adam"),
        data=data,
        output=tmp_path,
        spark=spark,
    )
    assert "spark_async" == run.record["experiment"]["engine"]["name"]
    assert None is run.retrained
    run = spark_nas.retrain(run.location, epochs=1, seeds=2, spark=spark)
    assert 0.2 < run.retrained["test_accuracy"] <= 1
    assert "when retrained" in repr(run)
    assert 3 == spark.range(3).count()
