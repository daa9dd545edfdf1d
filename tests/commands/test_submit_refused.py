"""`spark-nas submit`: what the platform could not do, or would leave out, is refused here in one line."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_nas import own_modules
from spark_nas.assemble import load_experiment
from spark_nas.spaces.latency import LatencyTable
from tests.commands.answers import Command
from tests.commands.submitting import words, written
from tests.platforms.schemas import REPOSITORY


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return written(tmp_path)


BAD = {
    "unknown key": ("emr", ["--set", "scheduler.etta=3"], "scheduler.etta: 3: unknown key"),
    "engine of one machine": ("emr", ["--set", "engine=local"], "engine.name: 'local': leaves a cluster idle"),
    "master of one's own": (
        "emr",
        ["--set", "engine.spark.master=yarn"],
        "engine.spark.master: 'yarn': leave it out: the platform says it",
    ),
    "relative data": (
        "emr",
        ["--set", "evaluator=training", "--set", "data.path=digits"],
        "'digits': the cluster has another working folder",
    ),
    "run id": ("emr", ["--run-id", "a/b"], "run id 'a/b': use letters"),
    "attempt": ("emr", ["--attempt", "a/b"], "run id 'a/b': use letters"),
    "property": ("emr", ["--conf", "park.x=1"], "conf: 'park.x=1': give spark.KEY=VALUE"),
    "no workers": ("emr", ["--workers", "0"], "workers: 0: give at least 1"),
    "two GPUs": ("emr", ["--gpus", "2"], "gpus: 2: give each executor one GPU"),
    "GPUs of EMR Serverless": ("emr-serverless", ["--gpus", "1"], "EMR Serverless has no GPUs"),
    "cores of EMR Serverless": ("emr-serverless", ["--cores", "3"], "cores: 3: a worker has one of 1, 2, 4, 8, 16"),
    "packed environment on Databricks": ("databricks", ["--archive", "s3://b/e"], "archive: 's3://b/e': a Databricks"),
    "heap on Databricks": ("databricks", ["--heap", "4g"], "--heap: '4g': Databricks divides a node's memory itself"),
    "memory on Databricks": ("databricks there", ["--memory", "8g"], "--memory: '8g': Databricks divides a node's"),
    "node of a running cluster": (
        "databricks there",
        ["--node-type", "g5.xlarge"],
        "--node-type: 'g5.xlarge': a running cluster stays as it was made: leave it out and set it there, or leave out",
    ),
    "runtime of a running cluster": ("databricks there", ["--runtime", "18"], "--runtime: '18': a running cluster"),
    "workers of a running cluster": ("databricks there", ["--workers", "2"], "--workers: 2: a running cluster stays"),
    "cores of a running cluster": ("databricks there", ["--cores", "4"], "--cores: 4: a running cluster stays"),
    "no GPUs of a running cluster": ("databricks there", ["--gpus", "0"], "--gpus: 0: a running cluster stays"),
    "property of a running cluster": (
        "databricks there",
        ["--conf", "spark.task.maxFailures=9"],
        "--conf: ['spark.task.maxFailures=9']: a running cluster stays",
    ),
    "version of a cluster of Dataproc": (
        "dataproc",
        ["--runtime", "3.0"],
        "--runtime: '3.0': is of a serverless batch",
    ),
    "accelerator of a cluster": ("dataproc", ["--accelerator", "l4"], "--accelerator: 'l4': is of a serverless batch"),
    "accelerator without GPUs": (
        "dataproc batch",
        ["--accelerator", "l4", "--gpus", "0"],
        "--accelerator: 'l4': there is none without GPUs: leave it out, or give --gpus 1",
    ),
    "experiment that is too long": ("emr", ["--set", f"name={'x' * 9000}"], "the experiment is 9,"),
    "relative output": ("emr", ["--output", "runs"], "'runs': the cluster has another working folder"),
    "output that only Databricks has": ("emr", ["--output", "dbfs:/runs"], "'dbfs:/runs': is only there on Databricks"),
    "table in the working folder": (
        "emr",
        ["--set", "evaluator={name: tabular, table: lcbench, path: lcbench.npz}"],
        "evaluator.path: 'lcbench.npz': is a file of this machine and does not travel inside the request",
    ),
    "no platform": ("emr", ["--cluster", "j", "--new-cluster", "x"], "not allowed with argument --cluster"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_would_fail_on_the_platform_is_one_line_and_code_2_here(case: str, experiment: Path, command: Command):
    platform, more, message = BAD[case]
    tmp = str(experiment.parent)
    answer = command(*words(platform, experiment, *(word.replace("{tmp}", tmp) for word in more)))
    assert (2, "") == (answer.code, answer.out)
    assert message.replace("{tmp}", tmp) in answer.complaint
    assert not (experiment.parent / "runs" / "night" / "run.json").exists()


@pytest.mark.parametrize("platform", ["emr", "emr-serverless", "dataproc", "dataproc batch", "databricks"])
@pytest.mark.parametrize("data", [None, "{tmp}/digits", "/Volumes/main/digits"])
def test_a_folder_of_this_machine_is_refused_unless_it_is_said_to_be_a_mount(
    platform: str, data: str | None, experiment: Path, command: Command
):
    tmp, sets = str(experiment.parent), list[str]()
    if data is not None:
        sets = ["--set", "evaluator=training", "--set", f"data.path={data.format(tmp=tmp)}"]
    answer = command(*words(platform, experiment, *sets, checked=True))
    assert (2, "") == (answer.code, answer.out)
    assert f"'{tmp}/runs': is a folder of this machine, and the cluster has others: give a URI" in answer.complaint
    there = platform == "databricks" or data != "/Volumes/main/digits"
    assert (0 if there else 2) == command(*words(platform, experiment, *sets)).code


def test_a_folder_said_as_a_uri_is_one_all_the_same(experiment: Path, command: Command):
    output = f"file://{experiment.parent}/runs"
    answer = command(*words("emr", experiment, output=output, checked=True))
    assert (2, True) == (answer.code, f"'{output}': is a folder of this machine" in answer.complaint)


def test_a_store_that_there_is_not_is_refused_where_it_is_looked_at(experiment: Path, command: Command):
    answer = command(*words("emr", experiment, output="s4://b/runs", checked=True))
    assert (2, True) == (answer.code, "there is no store 's4'" in answer.complaint)


SUPERNETS = """\
space: {{name: proxyless, stem_stride: 1, strides: [1, 2, 2, 1, 2, 1]}}
scheduler: {{name: one_shot, supernets: {{name: full_training, trials: 1, max_resource: 2}}, candidates: 1}}
method: {{name: proxyless, form: reinforce, latency: {table}, reference: 8.0}}
evaluator: training
engine: spark_async
data: {{path: "s3://b/data"}}
"""
TABLE = "conf/latency/proxyless_cpu.json"


def test_a_latency_table_travels_inside_the_request(
    experiment: Path, command: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.chdir(REPOSITORY)
    experiment.write_text(SUPERNETS.format(table=TABLE))
    answer = command(*words("emr", experiment))
    args = json.loads(answer.out)["Steps"][0]["HadoopJarStep"]["Args"]
    sent = tmp_path / "sent.yaml"
    sent.write_text(args[args.index("--experiment") + 1])
    monkeypatch.chdir(tmp_path)
    assert LatencyTable.read(f"{REPOSITORY}/{TABLE}") == load_experiment(str(sent)).method.table


def test_a_benchmarks_table_does_not_travel(experiment: Path, command: Command):
    settings = ["--set", "evaluator={name: tabular, table: lcbench, path: /tables/x.npz}"]
    answer = command(*words("emr", experiment, *settings, output="s3://b/runs", checked=True))
    assert (2, True) == (answer.code, "evaluator.path: '/tables/x.npz': is a file of this machine" in answer.complaint)
    assert 0 == command(*words("emr", experiment, *settings)).code  # a mount, it is said


def test_a_module_beside_the_experiment_does_not_travel_to_the_driver(
    experiment: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(own_modules, "_FOLDERS", [])
    (experiment.parent / "own_of_submit.py").write_text("from tests.commands.test_submit_refused import OnSpark\n")
    answer = command(*words("emr", experiment, "--set", "engine=own_of_submit:OnSpark"))
    sys.modules.pop("own_of_submit")
    assert (2, True) == (answer.code, "module: 'own_of_submit': is a file of this machine" in answer.complaint)


@dataclass(frozen=True)
class OnSpark:
    """An engine of one's own, which is given a session."""

    def build(self, evaluator: object, store: object = None, spark: object = None) -> None:
        raise AssertionError("nothing is built here")


@dataclass(frozen=True)
class spark_free:
    """An engine of one's own without any."""

    def build(self, evaluator: object, store: object = None) -> None:
        raise AssertionError("nothing is built here")


def test_an_engine_of_ones_own_is_taken_where_it_runs_on_spark(experiment: Path, command: Command):
    assert 0 == command(*words("emr", experiment, "--set", f"engine={__name__}:OnSpark")).code
    answer = command(*words("emr", experiment, "--set", f"engine={__name__}:spark_free"))
    assert (2, True) == (answer.code, "spark_free': leaves a cluster idle" in answer.complaint)


@pytest.mark.parametrize("content", ["{", "[]", '{"Name": "no instances"}'])
def test_a_cluster_file_that_is_none_is_refused_by_name(content: str, experiment: Path, command: Command):
    (experiment.parent / "cluster.json").write_text(content)
    more = ["--new-cluster", str(experiment.parent / "cluster.json")]
    answer = command("submit", "emr", experiment, "--output", "/x", "--run-id", "r", "--code", "s3://b", *more)
    assert (2, True) == (answer.code, "cluster.json: not a RunJobFlow request in JSON" in answer.complaint)
