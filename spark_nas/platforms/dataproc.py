"""Google Dataproc: a job of a running cluster (SubmitJob), or a serverless batch (CreateBatch).

The request is the message of the REST API, in its JSON: `job` or `batch` in it is what the API's `jobs:submit` and
`batches` take. No `scheduling` is asked for: Dataproc's restarts cannot tell exit code 75 from the others. A run itself
cannot lie on gs:// (see docs/operations.md): give an output on S3 or on a shared mount.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from typing import Any

from spark_nas.platforms.clients import client_of
from spark_nas.platforms.submission import Submission, refuse

HELP = "Google Dataproc, and its serverless batches"
PYTHON = "/opt/conda/default/bin/python"
"""Of the images, on every node."""
RUNTIME, ACCELERATOR = "3.0", "l4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """--project, --region, --cluster or --runtime, --accelerator, --endpoint."""
    parser.add_argument("--project", required=True, help="Google Cloud project")
    parser.add_argument("--region", required=True, help="for example europe-west4")
    parser.add_argument("--cluster", metavar="NAME", help="a running cluster; without one it is a serverless batch")
    parser.add_argument("--runtime", help=f"of a serverless batch (default: {RUNTIME})")
    parser.add_argument("--accelerator", help=f"GPU of a serverless batch (default: {ACCELERATOR})")
    parser.add_argument("--endpoint", metavar="URL", help="of the API, where it is not REGION-dataproc.googleapis.com")


def request(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    """A SubmitJobRequest, or a CreateBatchRequest, in the JSON of protocol buffers.

    Raises OptionError for an option that the one has no place for.
    """
    if arguments.cluster:
        refuse(arguments, ("runtime", "accelerator"), "is of a serverless batch: leave it out, or leave out --cluster")
    elif not submission.gpus:
        refuse(arguments, ("accelerator",), "there is none without GPUs: leave it out, or give --gpus 1")
    return _job(submission, arguments) if arguments.cluster else _batch(submission, arguments)


def _job(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "projectId": arguments.project,
        "region": arguments.region,
        "requestId": submission.token,
        "job": {
            "reference": {"projectId": arguments.project, "jobId": _unique(submission, 100)},
            "placement": {"clusterName": arguments.cluster},
            "pysparkJob": {
                **_program(submission),
                "properties": submission.with_own(
                    submission.yarn_conf(PYTHON) | {"spark.submit.deployMode": "cluster"}
                ),
            },
            "labels": {"spark-nas-run": _id(submission.run_id, 63)},
        },
    }


def _batch(submission: Submission, arguments: argparse.Namespace) -> dict[str, Any]:
    conf = submission.cluster_conf(None)
    if submission.gpus:
        conf |= {
            "spark.dataproc.driver.compute.tier": "premium",
            "spark.dataproc.executor.compute.tier": "premium",
            "spark.dataproc.executor.disk.tier": "premium",
            "spark.dataproc.executor.resource.accelerator.type": arguments.accelerator or ACCELERATOR,
        }
    return {
        "parent": f"projects/{arguments.project}/locations/{arguments.region}",
        "batchId": _unique(submission, 63),
        "requestId": submission.token,
        "batch": {
            "pysparkBatch": _program(submission),
            "runtimeConfig": {"version": arguments.runtime or RUNTIME, "properties": submission.with_own(conf)},
            "labels": {"spark-nas-run": _id(submission.run_id, 63)},
        },
    }


def _program(submission: Submission) -> dict[str, Any]:
    archives = {"archiveUris": [f"{submission.archive}#environment"]} if submission.archive is not None else {}
    return {
        "mainPythonFileUri": submission.script,
        "pythonFileUris": [submission.package],
        "args": submission.arguments(),
        **archives,
    }


def _unique(submission: Submission, longest: int) -> str:
    """An id of a job or a batch, of 4 letters or more: the attempt's name, and what tells equal ends of names apart."""
    piece = submission.token[:8]
    return f"{_id(submission.attempt_id, longest - 1 - len(piece))}-{piece}".strip("-")


def _id(name: str, longest: int) -> str:
    """What Google takes for a label or a part of an id; too long, it loses its beginning: its end names the attempt.

    >>> _id("Night.2026_11-a1", 63), _id("a" * 9 + "-2", 4)
    ('night-2026-11-a1', 'aa-2')
    """
    return re.sub(r"[^a-z0-9-]", "-", name.lower())[-longest:].strip("-")


def send(request: Mapping[str, Any], arguments: argparse.Namespace) -> str:
    """Send it; returns what to look for in the console. Raises UsageError when Dataproc does not take it."""
    with client_of("dataproc", "google-cloud-dataproc", "dataproc"):
        from google.cloud import dataproc_v1

        options = {"api_endpoint": arguments.endpoint or f"{arguments.region}-dataproc.googleapis.com"}
        text = json.dumps(request)
        if "job" in request:
            jobs = dataproc_v1.JobControllerClient(transport="rest", client_options=options)
            job = jobs.submit_job(dataproc_v1.SubmitJobRequest.from_json(text))
            return f"job {job.reference.job_id} of cluster {job.placement.cluster_name}"
        batches = dataproc_v1.BatchControllerClient(transport="rest", client_options=options)
        batches.create_batch(dataproc_v1.CreateBatchRequest.from_json(text))
        return f"batch {request['parent']}/batches/{request['batchId']}"
