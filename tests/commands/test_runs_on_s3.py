"""Runs on S3: searching, looking, retraining and reporting, with everything in the store and nothing on the disk."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.storage.locations import open_files
from tests.commands.answers import Command
from tests.s3_endpoint import S3

SYNTHETIC = """\
space: nas_bench_201
recipe: {learning_rate: {float: [0.01, 0.3], log: true}}
scheduler: {name: successive_halving, trials: 3, max_resource: 3}
evaluator: {name: synthetic}
engine: {name: local}
"""


@pytest.mark.slow
def test_a_run_lives_in_the_store_alone(s3: S3, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text(SYNTHETIC)
    output = s3.prefix()
    first = command("search", "x.yaml", "--output", output, "--set", "budget.jobs=2")
    assert (0, "") == (first.code, first.err)
    assert f"Run: {output}/x\n" in first.out
    assert len(Run(f"{output}/x").results()) == 2
    second = command("search", "x.yaml", "--output", output.replace("s3://", "s3a://"), "--set", "budget.jobs=3")
    assert (0, "") == (second.code, second.err)
    assert len(Run(f"{output}/x").results()) == 3
    answer = command("report", f"{output}/x")
    assert answer.out.endswith(f"Report: {output}/x/report/report.html\n")
    page = (open_files(output).read("x/report/report.html") or b"").decode()
    assert f"spark-nas retrain {output}/x" in page
    assert command("status", f"{output}/x").code == 0
    assert re.search(r"^x ", command("list", output).out, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["x.yaml"]


@pytest.mark.slow
def test_the_experiment_says_how_its_store_is_reached(
    s3: S3, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    (tmp_path / "x.yaml").write_text(f"{SYNTHETIC}storage: {{endpoint: {s3.endpoint}, region: us-east-1}}\n")
    output = s3.prefix()
    assert command("search", tmp_path / "x.yaml", "--output", output, "--set", "budget.jobs=1").code == 0
    record = json.loads(open_files(output, s3.options()).read("x/run.json") or b"{}")
    assert record["experiment"]["storage"] == {"endpoint": s3.endpoint, "region": "us-east-1"}


@pytest.mark.slow
def test_commands_that_look_at_a_run_take_the_store_s_options_as_search_does(
    s3: S3, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.delenv("AWS_REGION")
    (tmp_path / "x.yaml").write_text(SYNTHETIC)
    output, nowhere = s3.prefix(), "http://127.0.0.1:1"
    settings = ("--set", f"storage.endpoint={s3.endpoint}", "--set", "storage.region=us-east-1")
    assert command("search", tmp_path / "x.yaml", "--output", output, *settings).code == 0
    for name in ("status", "compact", "report"):
        answer = command(name, f"{output}/x", *settings)
        assert (0, "") == (answer.code, answer.err), name
    assert re.search(r"^x ", command("list", output, *settings).out, re.MULTILINE)
    run = Run(f"{output}/x", settings[1::2])
    assert (run.experiment.storage.endpoint, len(run.results())) == (s3.endpoint, 4)
    monkeypatch.setattr("spark_nas.storage.s3_calls._CONNECTING_SECONDS", 0.0)
    for name in ("status", "compact", "report", "retrain"):
        answer = command(name, f"{output}/x", "--set", f"storage.endpoint={nowhere}", "--set", "storage.region=x")
        assert answer.code != 0
        assert f"cannot reach {output}/x: the store does not answer: " in answer.complaint


@pytest.mark.parametrize(
    ("setting", "complaint"),
    [
        ("endpoint=http://x", "must be storage.KEY=VALUE"),
        ("storage.endpoint", "must be storage.KEY=VALUE"),
        ("storage.=1", "must be storage.KEY=VALUE"),
        ("data.endpoint=1", "must be storage.KEY=VALUE"),
        ("storage.endpint=http://x", "did you mean 'endpoint'"),
        ("storage.endpoint=x", "begins with http://"),
        ("storage.max_attempts=[", "is not a YAML value"),
    ],
)
def test_an_impossible_storage_setting_is_named(tmp_path: Path, command: Command, setting: str, complaint: str):
    answer = command("status", tmp_path, "--set", setting)
    assert (2, "") == (answer.code, answer.out)
    assert complaint in answer.complaint


@pytest.mark.parametrize("name", ["report", "retrain", "status"])
def test_a_run_that_is_not_in_the_store_is_said(s3: S3, command: Command, name: str):
    run = f"{s3.prefix()}/nothing"
    answer = command(name, run)
    assert (2, "") == (answer.code, answer.out)
    assert f"{run}: no run has begun here" in answer.complaint


def test_a_bucket_that_is_not_there_costs_no_cluster_time(s3: S3, tmp_path: Path, command: Command):
    (tmp_path / "x.yaml").write_text(SYNTHETIC)
    answer = command("search", tmp_path / "x.yaml", "--output", "s3://no-such-bucket/runs")
    assert answer.code == 2
    assert "s3://no-such-bucket/runs/x/_probe-" in answer.complaint
    assert "NoSuchBucket: create the bucket, or correct its name" in answer.complaint


def test_no_search_begins_where_nothing_can_be_committed_once(tmp_path: Path, command: Command):
    (tmp_path / "x.yaml").write_text(SYNTHETIC)
    answer = command("search", tmp_path / "x.yaml", "--output", "gs://bucket/runs")
    assert answer.code == 2
    assert "gs://bucket/runs/x: no run can be made here: pyarrow offers no conditional write" in answer.complaint


@pytest.mark.slow
@pytest.mark.spark
@pytest.mark.one_spark
def test_the_winner_is_retrained_in_the_store(s3: S3, digits: Path, tmp_path: Path, command: Command):
    (tmp_path / "small.yaml").write_text(f"""\
space: {{name: mlp, max_layers: 1, max_units: 32}}
recipe: {{learning_rate: 0.01}}
scheduler: {{name: successive_halving, trials: 2, max_resource: 2, eta: 2}}
evaluator: {{name: training, optimizer: adam}}
data: {{path: {digits}}}
""")
    output = s3.prefix()
    assert command("search", tmp_path / "small.yaml", "--output", output).code == 0
    answer = command("retrain", f"{output}/small")
    assert (0, "") == (answer.code, answer.err)
    files = open_files(f"{output}/small")
    summary = json.loads(files.read("retrained.json") or b"{}")
    assert summary["test_accuracy"] > 0.3
    (folder,) = files.folders("retrain")
    assert files.below(f"retrain/{folder}").list("results")
    assert "The retrained winner: test accuracy" in command("report", f"{output}/small").out
