"""Whatever is wrong with the input: one line on standard error, exit code 2, no Spark, and the run stays as it was."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_nas.cli import main
from spark_nas.commands.runs import Run
from tests.commands.answers import Answer, Command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

GOOD = """\
space: mlp
scheduler: {name: hyperband, max_resource: 3}
evaluator: synthetic
"""
TRAINING = ("evaluator=training", "data.path={tmp}/data")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file and a finished run of it, `runs/good`."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "good.yaml").write_text(GOOD)
    assert main(["search", str(folder / "good.yaml"), "--output", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished`, with some things in it that are no good."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbled").mkdir()
    (tmp_path / "garbled" / "descriptor.json").write_text("{")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"record_version": 1, "run_')
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("\\begin{document}")
    (tmp_path / "broken.yaml").write_text("space: [mlp\n")
    return tmp_path


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def active_context() -> object:
    from pyspark import SparkContext

    return SparkContext._active_spark_context


def search(*overrides: str, file: str = "{tmp}/good.yaml", output: str = "{tmp}/runs", run_id: str = "new"):
    sets = [argument for override in overrides for argument in ("--set", override)]
    return ["search", file, "--output", output, "--run-id", run_id, *sets]


ASHA_ON_CELLS = "{name: asha, max_resource: 200, trials: 64}"
GPU_CONF = "{name: spark_async, spark: {master: 'local[2]', conf: {spark.task.resource.gpu.amount: 1}}}"

BAD: dict[str, tuple[list[str], str]] = {
    "unknown key": (search("scheduler.etta=3"), "scheduler.etta: 3: unknown key; did you mean 'eta'?"),
    "misspelt section": (search("schedular=asha"), "schedular: 'asha': unknown key; did you mean 'scheduler'?"),
    "wrong type": (search("scheduler.eta=three"), "scheduler.eta: 'three': must be a whole number, not str"),
    "value out of range": (search("engine.slots=0"), "engine.slots: 0: give at least 1"),
    "override that is none": (search("seed"), "--set: 'seed': must be key.path=value"),
    "eta of 1": (search("scheduler.eta=1"), "scheduler.eta: 1: must be at least 2"),
    "min_resource above max_resource": (
        search("scheduler.min_resource=9"),
        "scheduler.max_resource: 3: must be at least min_resource, which is 9",
    ),
    "unknown scheduler": (search("scheduler=ashes"), "scheduler.name: 'ashes': unknown scheduler; did you mean 'asha'"),
    "unknown recipe key": (
        search(*TRAINING, "recipe.learning_rte=0.1"),
        "recipe.learning_rte: 'learning_rte': neither the space nor the training has it: did you mean 'learning_rate'?",
    ),
    "recipe range reversed": (
        search("recipe.learning_rate={float: [0.3, 0.1]}"),
        "good.yaml: recipe.learning_rate",
    ),
    "condition on an unknown parent": (
        search("recipe.dropout={float: [0, 1], when: {layrs: [2]}}"),
        "recipe.dropout.when.layrs: 'layrs': no such dimension: did you mean 'layers'?",
    ),
    "invalid YAML": (search(file="{tmp}/broken.yaml"), "broken.yaml: line 2, column 1: "),
    "no experiment file": (search(file="{tmp}/none.yaml"), "none.yaml: experiment file: "),
    "no data section": (search("evaluator=training"), "data: None: training needs a data set: add a data section"),
    "no data folder": (search(*TRAINING), "/data: no such data folder; give the --output of `spark-nas prepare-data`"),
    "no descriptor": (
        search(*TRAINING, "data.path={tmp}/empty"),
        "empty/descriptor.json: missing, so the data set is not complete; prepare the data again",
    ),
    "garbled descriptor": (
        search(*TRAINING, "data.path={tmp}/garbled"),
        "garbled/descriptor.json: not JSON (Expecting property name",
    ),
    "data on no known store": (
        search(*TRAINING, "data.path=ftp://bucket/digits"),
        "data.path: 'ftp://bucket/digits': ",
    ),
    "output is a file": (search(output="{tmp}/file"), "cannot write {tmp}/file/new: "),
    "run is a file": (search(output="{tmp}", run_id="file"), "cannot write {tmp}/file: "),
    "output on no known store": (
        search(output="ftp://bucket/runs"),
        "'ftp://bucket/runs': there is no store 'ftp': give a local or mounted folder, or s3://",
    ),
    "output where no run can be made": (
        search(output="gs://bucket/runs"),
        "gs://bucket/runs/new: no run can be made here",
    ),
    "a storage endpoint that is no URL": (search("storage.endpoint=minio:9000"), "storage.endpoint: 'minio:9000': "),
    "run id that is a path": (search(run_id="a/b"), "run id 'a/b': use letters, digits"),
    "run id of another experiment": (
        search("seed=2", run_id="good"),
        "{tmp}/runs/good holds another experiment: seed was 1 and is now 2; choose another --run-id",
    ),
    "run id of another scheduler": (
        search("scheduler.eta=2", run_id="good"),
        "holds another experiment: scheduler.eta was 3 and is now 2; choose another --run-id",
    ),
    "endless search without a budget": (
        search("scheduler=asha"),
        "scheduler: 'asha': is endless: give budget.seconds, .jobs or .resource",
    ),
    "asynchronous search in rounds": (
        search("scheduler={name: asha, trials: 256}", "engine=spark_rounds"),
        "engine.name: 'spark_rounds': asha decides after each result: use spark_async",
    ),
    "rungs that the table does not know": (
        search("space=nas_bench_201", "evaluator=tabular", f"scheduler={ASHA_ON_CELLS}"),
        "scheduler.name: 'asha': has a rung at 3, but tabular knows only 200: use full_training",
    ),
    "resource that the table does not know": (
        search("space=nas_bench_201", "evaluator=tabular"),
        "scheduler.max_resource: 3: nas_bench_201 has values after 200 epochs only: set it to 200",
    ),
    "space of another table": (
        search("evaluator=tabular", "scheduler={name: full_training, max_resource: 200, trials: 3}"),
        "evaluator.table: 'nas_bench_201': needs the space nas_bench_201, not mlp",
    ),
    "table that is not there": (
        search("space=table_rows", "evaluator={name: tabular, table: lcbench, path: {tmp}/none.npz}"),
        "{tmp}/none.npz",
    ),
    "GPUs in local mode": (
        search(f"engine={GPU_CONF}"),
        "spark.task.resource.gpu.amount: '1': Spark never starts a task that asks for it with master 'local[2]'",
    ),
    "plan for no workers": (["plan", "{tmp}/good.yaml", "--workers", "0"], "workers: 0: must be at least 1"),
    "plan for no time": (["plan", "{tmp}/good.yaml", "--epoch-seconds", "nan"], "unit_seconds: nan: must be greater"),
    "retraining no run": (["retrain", "{tmp}/empty"], "{tmp}/empty: no run has begun here; give OUTPUT/RUN_ID"),
    "retraining a synthetic run": (
        ["retrain", "{tmp}/runs/good"],
        "evaluator 'synthetic' trains no network: there is nothing to retrain",
    ),
    "report without rows": (["report", "{tmp}/runs/good", "--top", "0"], "top: 0: must be at least 1"),
    "report of no run": (["report", "{tmp}/empty"], "{tmp}/empty: no run has begun here; give OUTPUT/RUN_ID"),
    "report of a file": (["report", "{tmp}/file"], "{tmp}/file: no run has begun here"),
    "report of a torn run": (["report", "{tmp}/torn"], "{tmp}/torn/run.json is not a run record"),
    "unknown source": (
        ["prepare-data", "{tmp}/none.npz", "--output", "{tmp}/new"],
        "{tmp}/none.npz",
    ),
    "prepared data on no known store": (["prepare-data", "digits", "--output", "ftp://b/d"], "'ftp://b/d': "),
    "unknown flag": (
        ["search", "{tmp}/good.yaml", "--output", "{tmp}/runs", "--fast"],
        "unrecognized arguments: --fast; see spark-nas --help",
    ),
    "no output": (["search", "{tmp}/good.yaml"], "the following arguments are required: --output"),
    "no such command": (["serach"], "argument COMMAND: invalid choice: 'serach' (choose from"),
    "number that is none": (["report", "{tmp}/runs/good", "--top", "ten"], "argument --top: invalid int value: 'ten'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2_and_starts_and_changes_nothing(case: str, world: Path, command: Command):
    arguments, message = BAD[case]
    before, context = contents(world), active_context()
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in arguments))
    assert (2, "") == (answer.code, answer.out)
    assert answer.complaint.startswith("spark-nas")
    assert message.replace("{tmp}", str(world)) in answer.complaint
    assert active_context() is context
    after = contents(world)
    assert before == {name: after.get(name) for name in before}
    # A run that got as far as its engine has a record, and a lease that was given back.
    assert {name.split("/", 2)[-1] for name in after.keys() - before.keys()} <= {"run.json", "_lease/00000001.json"}
    assert len(Run(str(world / "runs" / "good")).results()) == 6


def test_an_absurd_run_record_is_refused_by_name(world: Path, command: Command):
    record = json.loads((world / "runs/good/run.json").read_text())
    path = world / "runs/good/run.json"
    for changed, message in (
        ({**record, "record_version": 9}, "run.json has version 9, this version reads 1"),
        (
            {key: record[key] for key in ("record_version", "run_id")},
            "run.json is not a run record: it has no experiment",
        ),
    ):
        path.write_text(json.dumps(changed))
        answer = command("report", world / "runs/good")
        assert (2, True) == (answer.code, message in answer.complaint)


def test_a_damaged_table_is_named(world: Path, command: Command):
    (world / "runs/good/results/part-00000001.parquet").write_bytes(b"PAR1")
    for name in ("report", "retrain"):
        answer = command(name, world / "runs/good")
        assert (2, True) == (answer.code, "part-00000001.parquet is not a results part" in answer.complaint)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (search("scheduler.etta=3"), "scheduler.etta: 3: unknown key; did you mean 'eta'?"),
        (search(f"engine={GPU_CONF}"), "spark.task.resource.gpu.amount: '1': Spark never starts a task"),
    ],
)
def test_a_process_of_its_own_answers_in_the_same_way(world: Path, arguments: list[str], message: str):
    words = [argument.replace("{tmp}", str(world)) for argument in arguments]
    command = [sys.executable, "-m", "spark_nas.cli", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (2, "") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert message in line


# ------------------------------------------------------------------------------- what only a search can find


def test_a_search_without_a_completed_trial_ends_with_code_1_and_leaves_its_table(world: Path, command: Command):
    arguments = search("evaluator.name=synthetic", "evaluator.divergence=1.0", run_id="hopeless")
    arguments += ["--set", "scheduler={name: full_training, trials: 4, max_resource: 3}"]
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in arguments))
    assert answer.code == 1
    assert "no trial completed; the last error: Diverged: loss nan" in answer.complaint
    assert ["failed"] * 4 == [result.status for result in Run(str(world / "runs/hopeless")).results()]
    assert command("report", world / "runs/hopeless").code == 0
    retrain = command("retrain", world / "runs/hopeless")
    assert (2, True) == (retrain.code, "no trial has completed; there is nothing to retrain yet" in retrain.complaint)


def test_a_tabular_run_cannot_be_retrained(world: Path, command: Command):
    sets = ("space=nas_bench_201", "evaluator=tabular", "scheduler={name: full_training, trials: 2, max_resource: 200}")
    done = command(*(argument.replace("{tmp}", str(world)) for argument in search(*sets)))
    assert (0, "") == (done.code, done.err)
    answer = command("retrain", world / "runs/new")
    assert (2, True) == (answer.code, "evaluator 'tabular' trains no network" in answer.complaint)


# ------------------------------------------------------------------------------------- with real data on Spark


@pytest.fixture
def shards(digits: Path, tmp_path: Path) -> Path:
    """A copy of the digits that may be damaged."""
    return Path(shutil.copytree(digits, tmp_path / "data"))


def describe(shards: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = shards / "descriptor.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def lose_a_shard(shards: Path) -> None:
    (shards / "train/part-00001.parquet").unlink()


def truncate_a_shard(shards: Path) -> None:
    path = shards / "train/part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def empty_a_split(shards: Path) -> None:
    describe(shards, lambda document: document["splits"]["valid"].update(rows=0, files=[]))


def drop_a_split(shards: Path) -> None:
    describe(shards, lambda document: document["splits"].pop("valid"))


def forget_the_classes(shards: Path) -> None:
    describe(shards, lambda document: document.pop("classes"))


def leave_the_folder(shards: Path) -> None:
    describe(shards, lambda document: document["splits"]["valid"]["files"][0].update(name="../../etc/passwd"))


@pytest.mark.spark
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_shard, "train/part-00001.parquet: shard is missing; prepare the data again"),
        (truncate_a_shard, "train/part-00001.parquet: shard has "),
        (empty_a_split, "descriptor.json: splits.valid.rows is 0, "),
        (drop_a_split, "split 'valid' is not in data set 'digits': it has train, test"),
        (forget_the_classes, "descriptor.json: classes is missing; prepare the data again"),
        (leave_the_folder, "name is '../../etc/passwd', not SPLIT/FILE.parquet"),
    ],
)
def test_a_damaged_data_set_is_found_before_the_search(
    world: Path, shards: Path, command: Command, damage: Callable[[Path], None], message: str
):
    damage(shards)
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in search(*TRAINING)))
    assert (2, "") == (answer.code, answer.out)
    assert message in answer.complaint
    assert not (world / "runs/new").exists()


@pytest.mark.spark
def test_a_corrupt_shard_fails_each_job_and_the_search_says_so(world: Path, shards: Path, command: Command):
    path = shards / "train/part-00001.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in search(*TRAINING, "budget.failures=3")))
    assert answer.code == 1
    assert "the first 3 jobs all failed, the last one with: DataError" in answer.complaint
    assert "part-00001.parquet" in answer.complaint
    assert ["failed"] * 3 == [result.status for result in Run(str(world / "runs/new")).results()]


@pytest.mark.spark
def test_more_slots_than_the_cluster_has_are_refused_and_the_run_goes_on_with_fewer(
    world: Path, command: Command, spark: SparkSession
):
    def run(slots: int) -> Answer:
        words = search("engine.name=spark_async", f"engine.slots={slots}")
        return command(*(word.replace("{tmp}", str(world)) for word in words))

    refused = run(64)
    assert refused.code == 2
    assert "slots: 64: the cluster runs 2 tasks at the same time; ask for at most 2" in refused.complaint
    assert [] == Run(str(world / "runs/new")).results()
    assert run(2).code == 0
    assert len(Run(str(world / "runs/new")).results()) == 6


@pytest.mark.spark
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--output", "{tmp}/foreign"], "{tmp}/foreign: holds thesis.tex, which is no part of a data set"),
        (["digits", "--output", "{tmp}/file"], "{tmp}/file: is a file; give a folder"),
        (["digits", "--output", "{digits}"], "{digits}: holds a data set already; give another folder or --overwrite"),
        (["digits", "--output", "{tmp}/new", "--shards", "999"], "rows for 999 shards; ask for fewer shards"),
        (["digits", "--output", "{tmp}/new", "--shards", "0"], "shards: 0: must be at least 1"),
        (["digits", "--output", "{tmp}/new", "--valid-fraction", "0"], "split 'valid' would get 0 of"),
    ],
)
def test_data_that_cannot_be_prepared_leave_everything_as_it_was(
    world: Path, digits: Path, command: Command, arguments: list[str], message: str
):
    before = contents(world)
    words = [word.replace("{tmp}", str(world)).replace("{digits}", str(digits)) for word in arguments]
    answer = command("prepare-data", *words)
    assert (2, "") == (answer.code, answer.out)
    assert message.replace("{tmp}", str(world)).replace("{digits}", str(digits)) in answer.complaint
    assert before == contents(world)
