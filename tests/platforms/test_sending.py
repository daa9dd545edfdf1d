"""`spark-nas submit --run`: the platforms' own clients send the very request that is printed, over HTTP."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import botocore.session
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from spark_nas.cli import main
from tests.platforms.recorder import recorder
from tests.platforms.schemas import CONF, Document, read
from tests.s3_endpoint import S3

Submit = Callable[..., tuple[int, str, str]]
EXPERIMENT = """\
space: mlp
scheduler: {name: hyperband, max_resource: 3}
evaluator: synthetic
engine: spark_async
"""


@pytest.fixture
def submit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """`submit("emr", ...)` is (exit code, standard output, standard error)."""
    (tmp_path / "night.yaml").write_text(EXPERIMENT)

    def run(platform: str, *more: str) -> tuple[int, str, str]:
        place = ["--output", str(tmp_path / "runs"), "--run-id", "night", "--attempt", "1", "--code", "s3://b/code"]
        place += ["--unchecked"]  # the output is on a mount
        capsys.readouterr()
        return main(["submit", platform, str(tmp_path / "night.yaml"), *place, *more]), *capsys.readouterr()

    return run


def aws(service: str) -> Document:
    return botocore.session.get_session().create_client(service, region_name="us-east-1")


@pytest.mark.slow
def test_emr_has_the_step_and_the_cluster_that_were_printed(submit: Submit, s3: S3):
    client = aws("emr")
    cluster = client.run_job_flow(**read("emr/cluster.json"))["JobFlowId"]
    printed = json.loads(submit("emr", "--cluster", cluster)[1])["Steps"][0]
    code, out, _ = submit("emr", "--cluster", cluster, "--run")
    step_id = re.match(rf"emr: step (\S+) of cluster {cluster}\nRun: \S+/runs/night\n$", out)[1]
    step = client.describe_step(ClusterId=cluster, StepId=step_id)["Step"]
    assert (0, printed["Name"], "CONTINUE") == (code, step["Name"], step["ActionOnFailure"])
    assert printed["HadoopJarStep"]["Args"] == step["Config"]["Args"]

    code, out, _ = submit("emr", "--new-cluster", str(CONF / "emr/cluster.json"), "--run")
    made = re.match(r"emr: cluster (\S+)\n", out)[1]
    [step] = client.list_steps(ClusterId=made)["Steps"]
    assert (0, "TERMINATE_CLUSTER") == (code, step["ActionOnFailure"])
    assert printed["HadoopJarStep"]["Args"] == step["Config"]["Args"]


@pytest.mark.slow
def test_emr_serverless_has_the_job_run_that_was_printed(submit: Submit, s3: S3):
    client = aws("emr-serverless")
    application = client.create_application(**read("emr-serverless/application.json"))["applicationId"]
    where = ["--application", application, "--role", "arn:aws:iam::123456789012:role/nas"]
    printed = json.loads(submit("emr-serverless", *where)[1])
    code, out, _ = submit("emr-serverless", *where, "--run")
    run_id = re.match(rf"emr-serverless: job run (\S+) of application {application}\n", out)[1]
    run = client.get_job_run(applicationId=application, jobRunId=run_id)["jobRun"]
    assert (0, printed["jobDriver"], "spark-nas night") == (code, run["jobDriver"], run["name"])


@pytest.mark.slow
def test_what_aws_refuses_is_one_line_and_code_2(submit: Submit, s3: S3):
    where = ["--application", "none", "--role", "arn:aws:iam::123456789012:role/nas"]
    code, out, err = submit("emr-serverless", *where, "--run")
    assert (2, "") == (code, out)
    [line] = err.splitlines()
    assert line.startswith("spark-nas submit: emr-serverless: not sent: ResourceNotFoundException: ")


@pytest.fixture
def google_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service account whose key was made just now."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    account = {
        "type": "service_account",
        "client_email": "nas@p.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": "http://127.0.0.1:9/token",
    }
    (tmp_path / "account.json").write_text(json.dumps(account))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p")


def test_dataproc_gets_the_job_that_was_printed(submit: Submit, google_credentials: None):
    path = "/v1/projects/p/regions/r/jobs:submit"
    answer = {"reference": {"jobId": "night-1-0a1b2c3d"}, "placement": {"clusterName": "c"}}
    with recorder({("POST", path): (200, answer)}) as server:
        where = ["--project", "p", "--region", "r", "--cluster", "c", "--endpoint", server.url]
        printed = json.loads(submit("dataproc", *where)[1])
        assert (0, "dataproc: job night-1-0a1b2c3d of cluster c") == first_line(submit("dataproc", *where, "--run"))
        [(method, asked, body, headers)] = server.asked
    assert ("POST", path) == (method, asked)
    assert {"job": printed["job"], "requestId": printed["requestId"]} == body
    assert headers["authorization"].startswith("Bearer ey")


def test_dataproc_gets_the_batch_that_was_printed(submit: Submit, google_credentials: None):
    path = "/v1/projects/p/locations/r/batches"
    with recorder({("POST", path): (200, {"name": "operations/1"})}) as server:
        where = ["--project", "p", "--region", "r", "--endpoint", server.url]
        printed = json.loads(submit("dataproc", *where)[1])
        said = first_line(submit("dataproc", *where, "--run"))
        [(_, asked, body, _)] = server.asked
    assert (0, f"dataproc: batch projects/p/locations/r/batches/{printed['batchId']}") == said
    assert (path, printed["batch"]) == (asked, body)


@pytest.fixture
def databricks_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """`host(url)` is what the environment names, with a token."""
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none.cfg"))

    def use(url: str) -> None:
        monkeypatch.setenv("DATABRICKS_HOST", url)
        monkeypatch.setenv("DATABRICKS_TOKEN", "a-token")

    return use


SUBMIT = ("POST", "/api/2.2/jobs/runs/submit")


def test_databricks_gets_the_run_that_was_printed(submit: Submit, databricks_host: Callable[[str], None]):
    with recorder({SUBMIT: (200, {"run_id": 17})}) as server:
        databricks_host(server.url)
        printed = json.loads(submit("databricks")[1])
        assert (0, "databricks: run 17") == first_line(submit("databricks", "--run"))
        [(body, headers)] = [(body, headers) for *where, body, headers in server.asked if tuple(where) == SUBMIT]
    assert printed == body
    assert "Bearer a-token" == headers["Authorization"]


def test_what_databricks_refuses_is_one_line_and_code_2(submit: Submit, databricks_host: Callable[[str], None]):
    refusal = {"error_code": "INVALID_PARAMETER_VALUE", "message": "no such node type"}
    with recorder({SUBMIT: (400, refusal)}) as server:
        databricks_host(server.url)
        code, out, err = submit("databricks", "--run")
    assert (2, "") == (code, out)
    assert ["spark-nas submit: databricks: not sent: InvalidParameterValue: no such node type"] == err.splitlines()


def first_line(answer: tuple[int, str, str]) -> tuple[int, str]:
    return answer[0], answer[1].splitlines()[0]


@pytest.mark.parametrize(
    ("platform", "module", "where", "extra"),
    [
        ("emr", "botocore.session", ["--cluster", "j-1"], "s3"),
        ("emr-serverless", "botocore.session", ["--application", "a", "--role", "r"], "s3"),
        ("dataproc", "google.cloud.dataproc_v1", ["--project", "p", "--region", "r"], "dataproc"),
        ("databricks", "databricks.sdk", [], "databricks"),
    ],
)
def test_a_client_that_is_missing_is_named_with_its_extra(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, platform: str, module: str, where: list[str], extra: str
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delattr("google.cloud.dataproc_v1", raising=False)
    code, out, err = submit(platform, *where, "--run")
    assert (2, "") == (code, out)
    assert f"{platform}: sending needs the package" in err
    assert f"pip install 'spark_nas[{extra}]'" in err
