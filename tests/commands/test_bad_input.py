"""Whatever is wrong with the input: one line on standard error, exit code 2, no Spark, and the run stays as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from tests.commands.answers import Command
from tests.commands.bad_world import TRAINING, active_context, contents, search

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
        "recipe.learning_rte: 0.1: neither the space nor the training has it: did you mean 'learning_rate'?",
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
    "run id that is empty": (search(run_id=""), "run id '': use letters, digits"),
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
    "endless rounds with a budget of time alone": (
        search(
            "scheduler={name: hyperband, max_resource: 9, iterations: null}", "engine=spark_rounds", "budget.seconds=9"
        ),
        "scheduler: 'hyperband': is endless: give budget.jobs or .resource: its rounds have no end, either",
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
    "a whole section of a retraining": (
        ["retrain", "{tmp}/runs/good", "--set", "retrain=3"],
        "'retrain=3': must be storage.KEY=VALUE or retrain.KEY=VALUE or data.KEY=VALUE",
    ),
    "a date that is none": (
        ["retrain", "{tmp}/runs/good", "--set", "retrain.seeds=2020-13-45"],
        "--set retrain.seeds: '2020-13-45': is not a YAML value",
    ),
    "a key that stands twice in a setting": (
        ["retrain", "{tmp}/runs/good", "--set", "retrain.recipe={a: 1, a: 2}"],
        "--set retrain.recipe: '{a: 1, a: 2}': is not a YAML value",
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
        "unrecognized argument --fast; did you mean '--set'?; see spark-nas search --help",
    ),
    "misspelt flag": (
        ["search", "{tmp}/good.yaml", "--ouput", "{tmp}/runs"],
        "unrecognized argument --ouput; did you mean '--output'?; see spark-nas search --help",
    ),
    "unknown word": (["plan", "{tmp}/good.yaml", "more"], "unrecognized arguments: more; see spark-nas plan --help"),
    "no output": (["search", "{tmp}/good.yaml"], "the following arguments are required: --output"),
    "no such command": (["serach"], "argument COMMAND: invalid choice: 'serach' (choose from"),
    "number that is none": (["report", "{tmp}/runs/good", "--top", "ten"], "argument --top: invalid int value: 'ten'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_code_2_and_starts_and_changes_nothing(case: str, world: Path, command: Command):
    arguments, message = BAD[case]
    if arguments[0] == "search" and not any("engine" in argument for argument in arguments):
        arguments = [*arguments, "--set", "engine=spark_async"]  # which would start Spark, if it came to that
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


def test_a_search_that_had_no_time_for_a_job_says_so(world: Path, command: Command):
    arguments = search("evaluator=synthetic", "budget.seconds=1e-9", run_id="brief")
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in arguments))
    assert (1, True) == (answer.code, "no job was run: the budget ended before" in answer.complaint)


def test_a_tabular_run_cannot_be_retrained(world: Path, command: Command):
    sets = ("space=nas_bench_201", "evaluator=tabular", "scheduler={name: full_training, trials: 2, max_resource: 200}")
    done = command(*(argument.replace("{tmp}", str(world)) for argument in search(*sets)))
    assert (0, "") == (done.code, done.err)
    answer = command("retrain", world / "runs/new")
    assert (2, True) == (answer.code, "evaluator 'tabular' trains no network" in answer.complaint)
