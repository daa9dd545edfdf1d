"""The files in conf/ that go to a platform are what its own model takes, down to the spelling of each key."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from databricks.sdk.service.jobs import JobSettings
from google.cloud import dataproc_v1

from spark_nas.commands.submit import PLATFORMS
from tests.platforms.schemas import CONF, Document, aws, databricks, dataproc, misspelt, read

Check = Callable[[Document], list[str]]

MAPS = {"Properties", "properties", "metadata", "labels", "tags", "spark_conf", "custom_tags"}
"""What holds keys of the user's own, or Spark's."""


def bundle_job() -> Document:
    """The job of the bundle, with the bundle's variables filled in as the Databricks CLI does."""
    variables = {name: value["default"] for name, value in read("databricks/databricks.yml")["variables"].items()}

    def filled(value: Document) -> Document:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        if isinstance(value, str) and (whole := re.fullmatch(r"\$\{var\.(\w+)\}", value)):
            return variables[whole[1]]
        return re.sub(r"\$\{var\.(\w+)\}", lambda m: str(variables[m[1]]), value) if isinstance(value, str) else value

    return filled(read("databricks/resources/search.job.yml")["resources"]["jobs"]["search"])


FILES: dict[str, tuple[Callable[[], Document], Check]] = {
    "emr/cluster.json": (lambda: read("emr/cluster.json"), partial(aws, "emr", "RunJobFlow")),
    "emr/step.json": (lambda: read("emr/step.json"), partial(aws, "emr", "AddJobFlowSteps")),
    "emr/configurations.json": (
        lambda: read("emr/configurations.json"),
        lambda document: aws(
            "emr", "RunJobFlow", {"Name": "", "Instances": {"InstanceCount": 1}, "Configurations": document}
        ),
    ),
    "emr-serverless/application.json": (
        lambda: read("emr-serverless/application.json"),
        partial(aws, "emr-serverless", "CreateApplication"),
    ),
    "emr-serverless/job.json": (
        lambda: read("emr-serverless/job.json"),
        partial(aws, "emr-serverless", "StartJobRun"),
    ),
    "dataproc/cluster.yaml": (lambda: read("dataproc/cluster.yaml"), partial(dataproc, dataproc_v1.Cluster)),
    "dataproc/workflow-template.yaml": (
        lambda: read("dataproc/workflow-template.yaml"),
        partial(dataproc, dataproc_v1.WorkflowTemplate),
    ),
    "dataproc/batch.yaml": (lambda: read("dataproc/batch.yaml"), partial(dataproc, dataproc_v1.CreateBatchRequest)),
    "databricks/resources/search.job.yml": (bundle_job, partial(databricks, JobSettings)),
}


@pytest.mark.parametrize("name", FILES)
def test_the_platforms_model_takes_the_file(name: str):
    document, check = FILES[name]
    assert [] == check(document())


@pytest.mark.parametrize("name", FILES)
def test_it_takes_none_in_which_any_key_is_misspelt(name: str):
    document, check = FILES[name]
    taken = [where for where, changed in misspelt(document()) if not check(changed)]
    assert [] == [where for where in taken if not MAPS & set(where.split(".")[:-1])]


def test_every_json_and_yaml_file_of_a_platform_is_checked():
    found = {str(path.relative_to(CONF)) for platform in PLATFORMS for path in (CONF / platform).rglob("*.*")}
    elsewhere = {"emr/iam-runtime.json", "emr/iam-submit.json", "databricks/databricks.yml"}
    assert {name for name in found if name.endswith((".json", ".yaml", ".yml"))} == {*FILES, *elsewhere}


def test_the_cluster_has_the_classifications_of_their_own_file():
    assert read("emr/configurations.json") == read("emr/cluster.json")["Configurations"]


def test_the_bundle_says_only_what_a_bundle_may_say():
    """The CLI's own schema comes with no package; these are its words."""
    bundle = read("databricks/databricks.yml")
    known = {"bundle", "include", "artifacts", "variables", "targets", "resources", "workspace", "sync", "permissions"}
    assert bundle.keys() <= known
    assert [{"type", "path", "build"}] == [artifact.keys() for artifact in bundle["artifacts"].values()]
    assert {"description", "default"} == {key for variable in bundle["variables"].values() for key in variable}
    assert {"mode", "default", "workspace"} == {key for target in bundle["targets"].values() for key in target}
    [pattern] = bundle["include"]
    assert ["search.job.yml"] == [path.name for path in (CONF / "databricks").glob(pattern)]
    job = (CONF / "databricks/resources/search.job.yml").read_text()
    assert bundle["variables"].keys() == set(re.findall(r"\$\{var\.(\w+)\}", job))


def commands(document: Document) -> Iterator[list[str]]:
    """Every list of arguments with a search in it."""
    if isinstance(document, list) and "search" in document:
        yield document
    for item in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from commands(item)


SEARCHES = {name: found for name, (document, _) in FILES.items() if (found := list(commands(document())))}


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_leaves_its_ending_below_its_run(name: str):
    [arguments] = SEARCHES[name]
    following = dict(pairwise(arguments))
    assert arguments.index("--ending") < arguments.index("search")
    assert following["--ending"].startswith(f"{following['--output']}/{following['--run-id']}/_endings/")


def test_every_platform_has_a_search():
    assert set(PLATFORMS) == {name.partition("/")[0] for name in SEARCHES}


def test_a_parameter_of_the_workflow_is_the_argument_that_it_is_called_by():
    template = read("dataproc/workflow-template.yaml")
    [arguments] = SEARCHES["dataproc/workflow-template.yaml"]
    found = {}
    for parameter in template["parameters"]:
        [field] = parameter["fields"]
        index = int(re.fullmatch(r"jobs\['search'\]\.pysparkJob\.args\[(\d+)\]", field)[1])
        found[parameter["name"]] = arguments[index - 1]
    assert {"RUN_ID": "--run-id", "ENDING": "--ending"} == found


def test_no_driver_is_on_a_worker_that_may_vanish():
    config = read("dataproc/cluster.yaml")["config"]
    assert "SPOT" == config["secondaryWorkerConfig"]["preemptibility"]
    assert "true" == config["softwareConfig"]["properties"]["dataproc:am.primary_only"]


def test_the_databricks_job_never_has_two_drivers_and_retries_only_the_search():
    job = bundle_job()
    search, verdict = job["tasks"]
    assert (1, False) == (job["max_concurrent_runs"], job["queue"]["enabled"])
    assert (3, 0) == (search["max_retries"], verdict["max_retries"])
    assert "--fail-only-unfinished" in search["python_wheel_task"]["parameters"]
    assert "SINGLE_USER" == job["job_clusters"][0]["new_cluster"]["data_security_mode"]


@pytest.mark.parametrize("script", sorted(str(path.relative_to(CONF)) for path in CONF.rglob("*.sh")))
def test_a_script_is_executable_and_bash_reads_it(script: str):
    path = CONF / script
    assert os.access(path, os.X_OK)
    subprocess.run(["bash", "-n", path], check=True)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")


def nvidia_smi(folder: Path, output: str) -> dict[str, str]:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{output}'\n")
    (folder / "nvidia-smi").chmod(0o755)
    return os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_discovery_script_names_every_gpu(tmp_path: Path):
    environment = nvidia_smi(tmp_path, r"0\n1 \n")
    done = subprocess.run([CONF / "spark/get_gpus.sh"], env=environment, capture_output=True, text=True, check=True)
    assert '{"name": "gpu", "addresses": ["0","1"]}\n' == done.stdout


def test_the_discovery_script_fails_where_there_is_no_gpu(tmp_path: Path):
    environment = nvidia_smi(tmp_path, "")
    done = subprocess.run([CONF / "spark/get_gpus.sh"], env=environment, capture_output=True, text=True, check=False)
    assert (1, "") == (done.returncode, done.stdout)
    assert "nvidia-smi lists no GPU" in done.stderr
