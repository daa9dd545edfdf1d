"""MLflow: its database as the tests' own store, and its server as a process over HTTP."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spark_nas.errors import Unfinished
from spark_nas.tracking.mlflow import Mlflow
from tests.tracking.conftest import Server, client
from tests.tracking.results import result, tracked

if TYPE_CHECKING:
    from mlflow.entities import Run

pytestmark = [
    pytest.mark.slow,  # MLflow alone takes seconds to import, and seconds more to make its tables
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning"),  # its tables, of SQLAlchemy
]
RESULTS = (result(0), result(1), result(0, 1, 3), result(1, 1, 3, error="boom\nTraceback"))


def runs(uri: str, experiment: str):
    """The one parent run of an experiment, and its trials."""
    there = client(uri)
    found = there.search_runs([there.get_experiment_by_name(experiment).experiment_id])
    (parent,) = [run for run in found if "spark_nas.search" in run.data.tags]
    trials = [run for run in found if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    assert len(found) == 1 + len(trials)
    return parent, {int(run.data.tags["spark_nas.trial"]): run for run in trials}


def curve(uri: str, run: Run, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client(uri).get_metric_history(run.info.run_id, name)]


def test_a_search_on_a_server_is_a_parent_run_with_a_nested_run_a_trial(server: Server, tmp_path: Path):
    uri = server.uri()
    with Mlflow("nas", uri).build(tracked()) as tracker:
        for one in RESULTS:
            tracker.on_result(one)
    parent, trials = runs(uri, "nas")
    assert ("first", "FINISHED") == (parent.info.run_name, parent.info.status)
    assert {"scheduler.name": "asha", "scheduler.eta": "3", "seed": "7"} == parent.data.params
    assert [(1, 1.0), (3, 1 / 3)] == curve(uri, parent, "best_loss")
    assert ["FINISHED", "FAILED"] == [trials[n].info.status for n in (0, 1)]
    assert "boom\nTraceback" == trials[1].data.tags["spark_nas.error"]
    assert "0.5" == trials[0].data.params["recipe.learning_rate"]
    assert "skip" == trials[0].data.params["architecture.edge 0"]
    assert [(1, 1.0), (2, 0.5), (3, 1 / 3)] == curve(uri, trials[0], "loss")
    assert 1000 * 2.5 == trials[1].info.end_time - trials[1].info.start_time
    there = client(uri)
    assert {"report.html", "run.json"} == {file.path for file in there.list_artifacts(parent.info.run_id)}
    record = there.download_artifacts(parent.info.run_id, "run.json", str(tmp_path))
    assert tracked().record == json.loads(Path(record).read_text())


def test_a_search_that_goes_on_goes_on_in_its_runs_and_logs_nothing_twice(database: str):
    with pytest.raises(Unfinished), Mlflow("resumed", database).build(tracked(page=None)) as tracker:  # noqa: PT012
        for one in RESULTS[:2]:
            tracker.on_result(one)
        raise Unfinished("time")
    parent, _ = runs(database, "resumed")
    assert "KILLED" == parent.info.status
    with Mlflow("resumed", database).build(tracked(page=None)) as tracker:
        for one in RESULTS:
            tracker.on_result(one)
    again, trials = runs(database, "resumed")
    assert (parent.info.run_id, "FINISHED") == (again.info.run_id, again.info.status)
    assert [(1, 1.0), (3, 1 / 3)] == curve(database, again, "best_loss")
    assert {0, 1} == set(trials)
    for name in ("loss", "seconds"):
        steps = [step for step, _ in curve(database, trials[0], name)]
        assert sorted(set(steps)) == steps


def test_runs_that_others_have_nested_there_are_left_alone(database: str, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.WARNING, "spark_nas")
    for one in RESULTS[:2]:
        with Mlflow("others", database).build(tracked(page=None)) as tracker:
            tracker.on_result(one)
        there = client(database)
        experiment = there.get_experiment_by_name("others").experiment_id
        [parent] = there.search_runs([experiment], "tags.`spark_nas.search` != ''")
        there.create_run(experiment, tags={"mlflow.parentRunId": parent.info.run_id})
    found = there.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    assert ["0", "1", None, None] == sorted((run.data.tags.get("spark_nas.trial") for run in found), key=str)
    assert [] == [record for record in caplog.records if record.name.startswith("spark_nas")]


def test_a_parent_run_that_was_made_and_no_more_gets_its_parameters_the_next_time(
    database: str, monkeypatch: pytest.MonkeyPatch
):
    from mlflow.tracking import MlflowClient

    original, failed = MlflowClient.log_batch, list[str]()

    def log_batch(self: MlflowClient, run_id: str, **batch: object) -> None:
        if not failed:
            failed.append(run_id)
            raise OSError("connection reset")
        original(self, run_id, **batch)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    with Mlflow("halfway", database).build(tracked(page=None)) as tracker:
        tracker.on_result(result())
    parent, _ = runs(database, "halfway")
    assert [parent.info.run_id] == failed
    assert {"scheduler.name": "asha", "scheduler.eta": "3", "seed": "7"} == parent.data.params


def test_a_search_that_goes_on_with_another_engine_keeps_the_parameters_it_began_with(
    database: str, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "spark_nas")
    for engine in ("local", "spark_async"):
        experiment = {"engine": engine, **({"seed": 7} if engine == "spark_async" else {})}
        with Mlflow("engines", database).build(tracked(page=None, experiment=experiment)) as tracker:
            tracker.on_result(result())
    parent, _ = runs(database, "engines")
    assert {"engine": "local", "seed": "7"} == parent.data.params
    assert [] == [record for record in caplog.records if record.name.startswith("spark_nas")]


def test_the_same_name_begun_anew_is_another_run(database: str):
    for created in ("monday", "tuesday"):
        with Mlflow("anew", database).build(tracked(created_at=created, page=None)) as tracker:
            tracker.on_result(result())
    there = client(database)
    found = there.search_runs([there.get_experiment_by_name("anew").experiment_id])
    assert 4 == len(found)


def test_more_runs_than_a_page_are_all_found_again(database: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spark_nas.tracking.mlflow._PAGE", 2)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "pages")
    for _ in range(2):
        with Mlflow(uri=database).build(tracked(page=None)) as tracker:
            for trial in range(5):
                tracker.on_result(result(trial))
    _, trials = runs(database, "pages")
    assert set(range(5)) == set(trials)


def test_what_mlflow_cannot_hold_is_cut_and_whole_in_an_artefact(database: str):
    with Mlflow("long", database).build(tracked(page=None)) as tracker:
        tracker.on_result(result(text="x" * 7000, **{"odd:name": 1}))
    _, trials = runs(database, "long")
    params = trials[0].data.params
    assert ("x" * 6000, "1") == (params["recipe.text"], params["recipe.odd_name"])
    there = client(database)
    assert ["trial.json"] == [file.path for file in there.list_artifacts(trials[0].info.run_id)]


def test_artefacts_of_a_database_lie_beside_it_and_nothing_in_the_working_folder(database: str, tmp_path: Path):
    with Mlflow("artefacts", database).build(tracked()) as tracker:
        tracker.on_result(result())
    parent, _ = runs(database, "artefacts")
    place = Path(f"{database.removeprefix('sqlite:///').removesuffix('.db')}-artifacts")
    assert {"report.html", "run.json"} == {path.name for path in (place / parent.info.run_id).rglob("*.*")}
    assert [] == list(tmp_path.iterdir())
    assert tmp_path == Path.cwd()


def test_a_server_that_dies_is_warned_of_once_and_what_it_missed_comes_with_the_same_command(
    server: Server, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.WARNING, "spark_nas")
    with Mlflow("dying", server.uri()).build(tracked()) as tracker:
        server.kill()
        for one in RESULTS:
            tracker.on_result(one)
    first, last = (record.getMessage() for record in caplog.records if record.name.startswith("spark_nas"))
    assert "goes on without waiting" in first
    assert last.startswith("MLflow: 4 results are not shown there")
    caplog.clear()
    with Mlflow("dying", server.uri()).build(tracked()) as tracker:
        for one in RESULTS:
            tracker.on_result(one)
    _, trials = runs(server.uri(), "dying")
    assert [(1, 1.0), (2, 0.5), (3, 1 / 3)] == curve(server.uri(), trials[0], "loss")
    assert [] == [record for record in caplog.records if record.name.startswith("spark_nas")]
