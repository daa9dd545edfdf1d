"""`spark-nas retrain`: the winner from scratch, on the test split, resumable like any search."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.report.leaderboard import incumbent
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import read_table
from tests.commands.answers import Command

pytestmark = [pytest.mark.spark, pytest.mark.one_spark]


@pytest.fixture(scope="module")
def searched(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search. Never to be changed."""
    from spark_nas.cli import main

    folder = tmp_path_factory.mktemp("retrain")
    (folder / "small.yaml").write_text(f"""\
space: {{name: mlp, max_layers: 1, max_units: 64}}
recipe: {{learning_rate: {{float: [3e-3, 3e-2], log: true}}, dropout: 0.0}}
scheduler: {{name: successive_halving, trials: 3, max_resource: 3}}
evaluator: {{name: training, optimizer: adam}}
data: {{path: {digits}}}
budget: {{jobs: 4, resource: 5}}
""")
    assert main(["search", str(folder / "small.yaml"), "--output", str(folder)]) == 0
    return folder / "small"


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched, tmp_path / "run"))


def retrained(run: Path) -> dict[str, float]:
    return dict(json.loads((run / "retrained.json").read_text()))


def trainings(run: Path, epochs: int) -> list[dict[str, object]]:
    (folder,) = (run / "retrain").glob(f"*-epochs-{epochs}")
    return read_table(LocalFiles(folder)).to_pylist(maps_as_pydicts="strict")


def test_the_test_accuracy_is_printed_and_kept(run: Path, command: Command):
    answer = command("retrain", run)
    assert (0, "") == (answer.code, answer.err)
    printed = re.search(r"retrained for 3 epochs with 1 seed\(s\): test accuracy ([0-9.]+) %", answer.out)
    assert printed is not None
    assert float(printed[1]) == round(100 * retrained(run)["test_accuracy"], 2)
    assert 0.8 < retrained(run)["test_accuracy"] <= 1.0  # guessing has 0.1


def test_it_is_the_incumbent_that_is_retrained_from_scratch(run: Path, command: Command):
    command("retrain", run)
    best = incumbent(Run(str(run)).results())
    (row,) = trainings(run, 3)
    assert best is not None
    assert best.job.trial.trial_id == retrained(run)["trial_id"]
    assert dict(best.job.trial.recipe) == json.loads(str(row["recipe"]))
    assert (row["start_trial_id"], row["resource"], row["rung"]) == (None, 3, 0)
    assert row["seed"] != best.job.trial.seed


def test_only_retraining_looks_at_the_test_split(run: Path, command: Command):
    command("retrain", run)
    assert all("test_error" not in result.metrics for result in Run(str(run)).results())
    (row,) = trainings(run, 3)
    assert 1 - row["metrics"]["test_error"] == retrained(run)["test_accuracy"]
    assert all("test_error" not in point["metrics"] for point in row["curve"][:-1])


def files(run: Path) -> dict[Path, bytes]:
    """All files of a run, without who held it."""
    paths = [path for path in run.rglob("*") if path.is_file() and path.parent.name != "_lease"]
    return {path: path.read_bytes() for path in paths}


def test_retraining_again_trains_nothing_and_says_the_same(run: Path, command: Command):
    first = command("retrain", run)
    before = files(run)
    again = command("retrain", run)
    assert first.out.splitlines()[-1] == again.out.splitlines()[-1]
    assert before == files(run)


def test_a_torn_result_is_written_anew(run: Path, command: Command):
    command("retrain", run)
    whole = (run / "retrained.json").read_bytes()
    (run / "retrained.json").write_bytes(whole[:20])
    assert 2 == command("report", run).code
    assert 0 == command("retrain", run).code
    assert whole == (run / "retrained.json").read_bytes()
    assert 0 == command("report", run).code


def test_more_seeds_add_to_those_that_are_there_and_the_spread_is_told(run: Path, command: Command):
    command("retrain", run)
    (one,) = trainings(run, 3)
    answer = command("retrain", run, "--seeds", 3)
    three = trainings(run, 3)
    assert one in three
    assert len({row["seed"] for row in three}) == 3
    assert re.search(r"with 3 seed\(s\): test accuracy [0-9.]+ ± [0-9.]+ %", answer.out)
    errors = [row["metrics"]["test_error"] for row in three]
    assert retrained(run)["test_accuracy"] == pytest.approx(1 - sum(errors) / 3)


def test_fewer_seeds_than_before_are_the_first_of_them(run: Path, command: Command):
    first = command("retrain", run).out.splitlines()[-1]
    command("retrain", run, "--seeds", 2)
    assert first == command("retrain", run, "--seeds", 1).out.splitlines()[-1]
    assert len(trainings(run, 3)) == 2


def test_the_budget_of_the_search_does_not_bound_retraining(run: Path, command: Command):
    command("retrain", run, "--epochs", 4, "--seeds", 2)  # 8 epochs; the search's budget is 5
    assert [4, 4] == [row["resource"] for row in trainings(run, 4)]
    assert retrained(run)["seeds"] == 2


@pytest.mark.parametrize(("option", "value"), [("--epochs", 0), ("--epochs", -1), ("--seeds", 0)])
def test_retraining_for_nothing_is_refused(run: Path, command: Command, option: str, value: int):
    answer = command("retrain", run, option, value)
    assert (2, "") == (answer.code, answer.out)
    assert answer.complaint == f"spark-nas retrain: {option[2:]}: {value}: must be at least 1"
    assert not (run / "retrain").exists()


def test_what_the_experiment_says_of_retraining_can_be_said_anew(run: Path, command: Command):
    command("retrain", run)
    first = retrained(run)
    answer = command("retrain", run, "--set", "retrain.use_valid=false", "--set", "retrain.recipe={dropout: 0.5}")
    assert (0, True) == (answer.code, retrained(run)["test_loss"] != first["test_loss"])
    assert command("retrain", run).code == 0
    assert first == retrained(run)
    wrong = command("retrain", run, "--set", "retrain.sedes=2")
    assert (2, True) == (wrong.code, "retrain.sedes: 2: unknown key; did you mean 'seeds'?" in wrong.complaint)


def test_one_key_of_its_recipe_can_be_said_anew_as_search_reads_it(run: Path, command: Command):
    assert command("retrain", run, "--set", "retrain.recipe={dropout: 0.5}").code == 0
    first = retrained(run)
    assert command("retrain", run, "--set", "retrain.recipe.dropout=5e-1").code == 0
    assert first == retrained(run)
    assert 1 == len(list((run / "retrain").iterdir()))  # the same training


def test_data_that_have_moved_are_found_where_they_are_said_to_be(
    run: Path, digits: Path, tmp_path: Path, command: Command
):
    moved = shutil.copytree(digits, tmp_path / "moved")
    record = json.loads((run / "run.json").read_text())
    record["experiment"]["data"]["path"] = str(tmp_path / "was")
    (run / "run.json").write_text(json.dumps(record))
    answer = command("retrain", run)
    assert (2, True) == (answer.code, "was: no such data folder" in answer.complaint)
    assert "where they have moved: --set data.path=PLACE" in answer.complaint
    assert command("retrain", run, "--set", f"data.path={moved}").code == 0
    assert 0.8 < retrained(run)["test_accuracy"]


def test_a_section_changed_after_the_search_began_is_not_passed_over(run: Path, searched: Path, command: Command):
    file = searched.parent / "small.yaml"
    answer = command("search", file, "--output", run.parent, "--run-id", "run", "--set", "retrain.seeds=3")
    assert answer.code == 2
    assert "the section retrain is not the one that the run began with" in answer.complaint


def test_retraining_on_other_data_is_refused(run: Path, digits: Path, tmp_path: Path, command: Command):
    other = Path(shutil.copytree(digits, tmp_path / "other"))
    document = json.loads((other / "descriptor.json").read_text())
    (other / "descriptor.json").write_text(json.dumps({**document, "fingerprint": "sha256:0"}))
    record = json.loads((run / "run.json").read_text())
    record["experiment"]["data"]["path"] = str(other)
    (run / "run.json").write_text(json.dumps(record))
    answer = command("retrain", run)
    assert answer.code == 2
    assert f"searched on data {document['fingerprint']}, but the data section now leads to sha256:0" in answer.complaint
