"""`spark-nas submit`: what is printed is what the platform takes, and what would fail there is found here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from databricks.sdk.service.jobs import SubmitTask
from google.cloud import dataproc_v1

from spark_nas.assemble import load_experiment, parse_experiment
from spark_nas.commands.submit import PLATFORMS
from spark_nas.platforms import dataproc as google
from spark_nas.platforms import emr
from spark_nas.platforms.submission import Submission
from spark_nas.storage.locations import open_files
from tests.commands.answers import Command
from tests.commands.submitting import WHERE, words, written
from tests.platforms.schemas import Document, aws, databricks, dataproc, spark_properties
from tests.s3_endpoint import S3


def databricks_run(document: Document) -> list[str]:
    assert {"run_name", "idempotency_token", "tasks"} == document.keys()
    return [line for task in document["tasks"] for line in databricks(SubmitTask, task)]


CHECKS = {
    "emr": lambda document: aws("emr", "AddJobFlowSteps", document),
    "emr new": lambda document: aws("emr", "RunJobFlow", document),
    "emr-serverless": lambda document: aws("emr-serverless", "StartJobRun", document),
    "dataproc": lambda document: dataproc(dataproc_v1.SubmitJobRequest, document),
    "dataproc batch": lambda document: dataproc(dataproc_v1.CreateBatchRequest, document),
    "databricks": databricks_run,
    "databricks there": databricks_run,
}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return written(tmp_path)


def arguments_in(document: Document) -> list[str]:
    """What follows jobs/entry.py, wherever the platform keeps it."""
    if isinstance(document, list):
        if "--experiment" in document:
            return document[document.index("--experiment") :]
        return next((found for item in document if (found := arguments_in(item))), [])
    return arguments_in(list(document.values())) if isinstance(document, dict) else []


@pytest.mark.parametrize("case", WHERE)
def test_the_printed_request_is_one_the_platform_takes(case: str, experiment: Path, command: Command):
    answer = command(*words(case, experiment))
    assert (0, "") == (answer.code, answer.err)
    assert [] == CHECKS[case](json.loads(answer.out))


@pytest.mark.parametrize("case", WHERE)
def test_the_request_carries_the_experiment_that_was_checked(case: str, experiment: Path, command: Command):
    document = json.loads(command(*words(case, experiment, "--set", "scheduler.eta=4", "--attempt", "2")).out)
    found = arguments_in(document)
    there = parse_experiment(yaml.safe_load(found[1]))
    here = load_experiment(experiment, ["scheduler.eta=4"])
    assert (here.name, here.scheduler, here.space) == (there.name, there.scheduler, there.space)
    runs = str(experiment.parent / "runs")
    assert ["--ending", f"{runs}/night/_endings/2.json"] == found[2:4]
    assert ["search", "--output", runs, "--run-id", "night"] == found[4:]


@pytest.mark.parametrize("case", WHERE)
def test_nothing_is_started_twice_by_a_platform(case: str, experiment: Path, command: Command):
    answer = command(*words(case, experiment, "--attempt", "2"))
    token = Submission({}, str(experiment.parent / "runs"), "night", "2", "s3://b/code").token
    assert token in answer.out or case in ("emr", "emr new")
    once = {
        "emr": r'"spark.yarn.maxAppAttempts=1"',
        "emr-serverless": r'"maxAttempts": 1',
        "databricks": r'"max_retries": 0',
    }
    if case.startswith("dataproc"):  # which restarts nothing unless it is told to
        assert not re.search(r"scheduling|maxFailuresPerHour", answer.out)
    else:
        assert re.search(once[case.partition(" ")[0]], answer.out)


def test_a_budget_and_spark_properties_go_along(experiment: Path, command: Command):
    more = ["--time-budget", "5h", "--keep-checkpoints", "--conf", "spark.task.maxFailures=9", "--workers", "7"]
    args = json.loads(command(*words("emr", experiment, *more)).out)["Steps"][0]["HadoopJarStep"]["Args"]
    assert ["--time-budget", "5h", "--keep-checkpoints"] == args[-3:]
    assert "spark.task.maxFailures=9" in args
    assert "spark.task.maxFailures=4" not in args
    assert "spark.executor.instances=7" in args


@pytest.mark.parametrize("case", ["emr", "emr-serverless", "dataproc", "dataproc batch"])
def test_a_packed_environment_is_the_python_of_driver_and_executors(case: str, experiment: Path, command: Command):
    out = command(*words(case, experiment, "--archive", "s3://b/env.tar.gz")).out
    assert "s3://b/env.tar.gz#environment" in out
    assert "python3.11" not in out
    assert out.count("./environment/bin/python") >= (1 if case == "dataproc batch" else 2)


@pytest.mark.parametrize("case", ["emr", "dataproc", "dataproc batch", "databricks"])
def test_without_gpus_none_is_asked_for(case: str, experiment: Path, command: Command):
    assert "gpu.amount" in command(*words(case, experiment)).out
    out = command(*words(case, experiment, "--gpus", "0")).out
    assert [] == re.findall(r"resource\.gpu|accelerator|rapids", out)


def test_a_new_cluster_holds_one_search_and_ends_with_it(experiment: Path, command: Command):
    request = json.loads(command(*words("emr new", experiment)).out)
    assert (1, False) == (request["StepConcurrencyLevel"], request["Instances"]["KeepJobFlowAliveWhenNoSteps"])
    assert ["TERMINATE_CLUSTER"] == [step["ActionOnFailure"] for step in request["Steps"]]


def token(request: Document) -> str:
    """By which the platform knows a request that it has had already."""
    return next(request[key] for key in ("requestId", "clientToken", "idempotency_token") if key in request)


@pytest.mark.parametrize("case", [case for case in WHERE if not case.startswith("emr ") and case != "emr"])
def test_equal_endings_are_one_request_and_others_are_not(case: str, experiment: Path, command: Command):
    long = "a" * 100

    def asked(run_id: str, attempt: str, output: str = "/runs") -> str:
        more = ["--run-id", run_id, "--attempt", attempt, "--unchecked"]
        request = json.loads(command(*words(case, experiment, *more, output=output)).out)
        assert [] == CHECKS[case](request)
        return token(request)

    endings = [
        (long, "1"),
        (long, "2"),
        (f"b{long[1:]}", "1"),
        ("night.2026_11", "1"),
        ("r", "1"),
        ("r", "1", "/other"),
    ]
    tokens = [asked(*ending) for ending in endings]
    assert tokens == [asked(*ending) for ending in endings]
    assert asked("r", "1") == asked("r", "1", "/runs/")
    assert len(endings) == len(set(tokens))
    assert [] == [text for text in tokens if not re.fullmatch(r"[A-Za-z0-9_-]{1,40}", text)]


@pytest.mark.parametrize(("case", "field", "longest"), [("dataproc", "jobId", 100), ("dataproc batch", "batchId", 63)])
def test_ids_of_dataproc_are_valid_and_tell_long_names_with_one_end_apart(
    case: str, field: str, longest: int, experiment: Path, command: Command
):
    def asked(run_id: str, attempt: str = "1") -> str:
        request = json.loads(command(*words(case, experiment, "--run-id", run_id, "--attempt", attempt)).out)
        return request[field] if field in request else request["job"]["reference"][field]

    run_ids = ["r", "a" * 100, f"b{'a' * 99}", "Night.2026_11", "night-2026-11", "r" + "_" * 99]
    ids = [asked(run_id) for run_id in run_ids]
    assert ids == [asked(run_id) for run_id in run_ids]
    assert len(run_ids) == len(set(ids))
    assert [] == [text for text in ids if not re.fullmatch(rf"[a-z0-9][a-z0-9-]{{2,{longest - 2}}}[a-z0-9]", text)]
    assert re.fullmatch(r"night-2-[0-9a-f]{8}", asked("night", "2"))


def test_the_help_of_each_platform_says_its_own_defaults(command: Command):
    said = {name: re.sub(r"\s+", " ", command("submit", name, "--help").out) for name in PLATFORMS}
    gpus = {name: re.search(r"0 or 1 \(default: (\d)\)", text)[1] for name, text in said.items()}
    assert {"emr": "1", "emr-serverless": "0", "dataproc": "1", "databricks": "1"} == gpus


def test_places_that_only_databricks_has_are_named_and_not_looked_at(experiment: Path, command: Command):
    sets = ["--set", "evaluator=training", "--set", "data.path=/Volumes/main/nas/digits"]
    answer = command(*words("databricks", experiment, *sets, output="dbfs:/runs", checked=True))
    assert 0 == answer.code
    assert {
        "spark-nas submit: not looked at: /Volumes/main/nas/digits is only there on Databricks",
        "spark-nas submit: not looked at: dbfs:/runs is only there on Databricks",
    } == set(answer.err.splitlines())


def test_unchecked_places_are_taken_as_they_are(experiment: Path, command: Command):
    sets = ["--set", "evaluator=training", "--set", "data.path=s3://none/digits"]
    answer = command(*words("emr", experiment, *sets, output="s3://none/runs"))
    assert (0, "") == (answer.code, answer.err)
    sets = ["--set", "evaluator=training", "--set", "data.path=/Volumes/main/nas/digits"]
    answer = command(*words("databricks", experiment, *sets, output="dbfs:/runs"))
    assert (0, "") == (answer.code, answer.err)


@pytest.mark.slow
def test_data_and_output_on_a_store_are_looked_at_and_left_as_they_were(experiment: Path, command: Command, s3: S3):
    output = f"{s3.prefix()}/runs"
    answer = command(*words("emr", experiment, output=output, checked=True))
    assert (0, "") == (answer.code, answer.err)
    assert [] == open_files(output).list("")
    sets = ["--set", "evaluator=training", "--set", f"data.path={s3.prefix()}/digits"]
    answer = command(*words("emr", experiment, *sets, output=output, checked=True))
    assert (2, True) == (answer.code, "/digits/descriptor.json: missing" in answer.complaint)
    answer = command(*words("emr", experiment, output="s3://no-such-bucket/runs", checked=True))
    assert (2, True) == (answer.code, "s3://no-such-bucket/runs: cannot write" in answer.complaint)


def test_an_attempt_without_a_name_has_one_of_its_own(experiment: Path, command: Command):
    found = arguments_in(json.loads(command(*words("emr", experiment)).out))
    assert re.search(r"/_endings/\d{8}-\d{6}\.json$", found[3])


def test_the_confs_by_hand_are_what_submit_sets():
    submission = Submission({}, "s3://b/runs", "r", "1", "s3://b/code")
    cluster = {"spark.submit.deployMode": "cluster"}
    assert submission.yarn_conf(emr.PYTHON) | cluster == spark_properties("emr/spark-defaults.conf")
    assert submission.yarn_conf(google.PYTHON) | cluster == spark_properties("dataproc/spark-defaults.conf")


def test_on_one_machine_there_are_no_gpu_settings():
    assert [] == [key for key in spark_properties("spark/spark-defaults.conf") if "gpu" in key]
