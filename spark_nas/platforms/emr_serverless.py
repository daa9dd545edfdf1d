"""Amazon EMR Serverless: a job run of an application (StartJobRun).

Its workers have no GPU. It is for searches on tables of benchmarks, for small networks, and for looking after runs.
The request is what `aws emr-serverless start-job-run --cli-input-json` takes.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from typing import Any

from spark_nas.errors import OptionError
from spark_nas.object_store import StorageOptions
from spark_nas.platforms.clients import client_of
from spark_nas.platforms.submission import Submission

HELP = "Amazon EMR Serverless, which has no GPUs"
SIZES = (1, 2, 4, 8, 16)
"""vCPUs that a worker may have."""
DEFAULTS: Mapping[str, object] = {"gpus": 0}
"""Of the options of all platforms, those that are others here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--application, --role, --timeout-minutes, --region."""
    parser.add_argument("--application", required=True, metavar="ID", help="the application that runs it")
    parser.add_argument("--role", required=True, metavar="ARN", help="execution role of the job; see conf/emr/iam")
    parser.add_argument("--timeout-minutes", type=int, default=720, help="the platform's own limit (default: 720)")
    parser.add_argument("--region", help="AWS region (default: the environment's)")


def request(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    """The parameters of StartJobRun. Raises OptionError for GPUs, and for workers of a size that there is not."""
    if submission.gpus:
        raise OptionError("gpus", submission.gpus, "EMR Serverless has no GPUs: give 0, or submit to emr")
    if submission.cores not in SIZES:
        raise OptionError("cores", submission.cores, f"a worker has one of {', '.join(map(str, SIZES))}")
    conf = submission.cluster_conf(None)
    python = conf.pop("spark.pyspark.python", None)
    if python is not None:
        conf["spark.archives"] = f"{submission.archive}#environment"
        for place in ("spark.emr-serverless.driverEnv", "spark.executorEnv"):
            conf[f"{place}.PYSPARK_PYTHON"] = python
        conf["spark.emr-serverless.driverEnv.PYSPARK_DRIVER_PYTHON"] = python
    settings = [part for key, value in submission.with_own(conf).items() for part in ("--conf", f"{key}={value}")]
    return {
        "applicationId": arguments.application,
        "clientToken": submission.token,
        "executionRoleArn": arguments.role,
        "name": submission.name,
        "executionTimeoutMinutes": arguments.timeout_minutes,
        "retryPolicy": {"maxAttempts": 1},  # it cannot tell exit code 75 from the others
        "jobDriver": {
            "sparkSubmit": {
                "entryPoint": submission.script,
                "entryPointArguments": submission.arguments(),
                "sparkSubmitParameters": shlex.join([*settings, "--py-files", submission.package]),
            }
        },
    }


def send(request: Mapping[str, Any], arguments: argparse.Namespace) -> str:
    """Send it; returns what to look for in the console. Raises UsageError when EMR Serverless does not take it."""
    with client_of("emr-serverless", "boto3", "s3"):
        import botocore.session  # type: ignore[import-untyped]

        region = StorageOptions(region=arguments.region).resolved().region  # botocore alone ignores AWS_REGION
        client = botocore.session.get_session().create_client("emr-serverless", region_name=region)
        run = client.start_job_run(**request)
        return f"job run {run['jobRunId']} of application {run['applicationId']}"
