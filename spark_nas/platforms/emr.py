"""Amazon EMR on EC2: a step of a running cluster (AddJobFlowSteps), or a cluster of its own (RunJobFlow).

The request is what boto3's `add_job_flow_steps(**request)` or `run_job_flow(**request)` takes; the AWS CLI has neither
operation under its name. The driver runs in a YARN container (cluster mode): on the primary node it would compete with
YARN itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spark_nas.errors import UsageError
from spark_nas.object_store import StorageOptions
from spark_nas.platforms.clients import client_of
from spark_nas.platforms.submission import Submission

HELP = "Amazon EMR on EC2"
PYTHON = "/usr/bin/python3.11"
"""Of EMR 7 and emr-spark-8 alike; the `python3` of EMR 7 is 3.9, for which this package is too new."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--cluster or --new-cluster, --region."""
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--cluster", metavar="ID", help="a running cluster, j-...")
    where.add_argument(
        "--new-cluster",
        metavar="FILE",
        help="a cluster that ends with the search: a RunJobFlow request as JSON, for example conf/emr/cluster.json",
    )
    parser.add_argument("--region", help="AWS region (default: the environment's)")


def request(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters of the EMR operation. Raises UsageError for a cluster file that cannot be used."""
    if arguments.cluster:
        return {"JobFlowId": arguments.cluster, "Steps": [step(submission, "CONTINUE")]}
    try:
        cluster = json.loads(Path(arguments.new_cluster).read_text(encoding="utf-8"))
        instances = cluster["Instances"]
        # One search, one cluster: a second step could only be a second driver.
        changes = {"Name": submission.name, "StepConcurrencyLevel": 1, "Steps": [step(submission, "TERMINATE_CLUSTER")]}
        return {**cluster, **changes, "Instances": {**instances, "KeepJobFlowAliveWhenNoSteps": False}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{arguments.new_cluster}: not a RunJobFlow request in JSON: {error!r}") from error


def step(submission: Submission, on_failure: str) -> dict[str, Any]:
    """The search as a step."""
    return {
        "Name": submission.name,
        "ActionOnFailure": on_failure,
        "HadoopJarStep": {"Jar": "command-runner.jar", "Args": spark_submit(submission)},
    }


def spark_submit(submission: Submission) -> list[str]:
    """The command line of spark-submit."""
    conf = submission.with_own(submission.yarn_conf(PYTHON))
    settings = [part for key, value in conf.items() for part in ("--conf", f"{key}={value}")]
    files = ["--py-files", submission.package]
    if submission.archive is not None:
        files += ["--archives", f"{submission.archive}#environment"]
    command = ["spark-submit", "--deploy-mode", "cluster", "--name", submission.name]
    return [*command, *settings, *files, submission.script, *submission.arguments()]


def send(request: Mapping[str, Any], arguments: argparse.Namespace) -> str:
    """Send it; returns what to look for in the console. Raises UsageError when EMR does not take it."""
    with client_of("emr", "boto3", "s3"):
        import botocore.session  # type: ignore[import-untyped]

        region = StorageOptions(region=arguments.region).resolved().region  # botocore alone ignores AWS_REGION
        client = botocore.session.get_session().create_client("emr", region_name=region)
        if "JobFlowId" in request:
            [step_id] = client.add_job_flow_steps(**request)["StepIds"]
            return f"step {step_id} of cluster {request['JobFlowId']}"
        return f"cluster {client.run_job_flow(**request)['JobFlowId']}"
