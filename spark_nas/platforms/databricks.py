"""Databricks: a run of its own (jobs/runs/submit), on a new GPU cluster of one search or on one that is there.

The request is what `databricks jobs submit --json` takes. The cluster is in dedicated access mode: in standard mode
Spark is a Connect server without Python tasks on GPUs, and on serverless compute there are no GPUs for executors.
Executors and GPUs are the platform's to configure: nothing of `spark.executor.*` is set. Its wheel task ignores what
an entry point returns, so the entry is `spark-nas-job`, which raises when a search has failed.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from spark_nas.errors import OptionError
from spark_nas.platforms.clients import client_of
from spark_nas.platforms.submission import Submission, refuse

HELP = "Databricks, as a run of its own"
NODE_TYPE = "g5.xlarge"
RUNTIME = "17.3.x-gpu-ml-scala2.13"
ENTRY_POINT = "spark-nas-job"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--cluster, or --node-type and --runtime, --profile."""
    parser.add_argument("--cluster", metavar="ID", help="a running cluster; without one the run makes its own")
    parser.add_argument("--node-type", help=f"of a new cluster (default: {NODE_TYPE}, one A10G)")
    runtime = f"of a new cluster, one for machine learning (default: {RUNTIME})"
    parser.add_argument("--runtime", metavar="VERSION", help=runtime)
    parser.add_argument("--profile", help="of ~/.databrickscfg (default: the environment's)")


def request(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    """The body of jobs/runs/submit. Raises OptionError for what it has no place for, as a packed environment."""
    if submission.archive is not None:
        raise OptionError("archive", submission.archive, "a Databricks cluster has its own environment: leave it out")
    refuse(arguments, ("heap", "memory"), "Databricks divides a node's memory itself: leave it out")
    if arguments.cluster:
        remedy = "a running cluster stays as it was made: leave it out and set it there, or leave out --cluster"
        refuse(arguments, ("node_type", "runtime", "workers", "cores", "gpus", "conf"), remedy)
    task: dict[str, Any] = {
        "task_key": "search",
        "python_wheel_task": {
            "package_name": "spark_nas",
            "entry_point": ENTRY_POINT,
            "parameters": submission.arguments(),
        },
        "libraries": [{"whl": submission.wheel}],
        "max_retries": 0,  # of a single run: whoever submits it retries
    }
    if arguments.cluster:
        task["existing_cluster_id"] = arguments.cluster
    else:
        task["new_cluster"] = {
            "spark_version": arguments.runtime or RUNTIME,
            "node_type_id": arguments.node_type or NODE_TYPE,
            "num_workers": submission.workers,
            "data_security_mode": "SINGLE_USER",  # the API's word for dedicated
            "spark_conf": submission.with_own(submission.session_conf()),
        }
    return {"run_name": submission.name, "idempotency_token": submission.token, "tasks": [task]}


def send(request: Mapping[str, Any], arguments: argparse.Namespace) -> str:
    """Send it; returns what to look for in the workspace. Raises UsageError when Databricks does not take it."""
    with client_of("databricks", "databricks-sdk", "databricks"):
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.service.jobs import SubmitTask

        run = WorkspaceClient(profile=arguments.profile).jobs.submit(
            run_name=request["run_name"],
            idempotency_token=request["idempotency_token"],
            tasks=[SubmitTask.from_dict(task) for task in request["tasks"]],
        )
        return f"run {run.run_id}"
