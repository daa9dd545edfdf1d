"""What tasks ask of executors: refusals by their settings alone, and profiles on a cluster of separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark
import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.profiles import TaskProfile, check_resources
from spark_nas.engines.session import Session
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import ClusterError, OptionError
from tests.cluster import Cluster, spark_environment
from tests.connect_server import connect_server, why_no_server
from tests.engines.probes import Probe

REPOSITORY = Path(__file__).resolve().parents[2]
OLD = pyspark.__version__.startswith("3.")
TASK, EXECUTOR = "spark.task.resource.gpu.amount", "spark.executor.resource.gpu.amount"
MEMORY = "spark.executor.pyspark.memory"


# --------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "profile", "says"),
    [
        ({TASK: "0.5", EXECUTOR: "2"}, None, f"{TASK}: 0.5: .*give executors one GPU each, or tasks a whole one"),
        ({TASK: "1", EXECUTOR: "2"}, TaskProfile(gpus=0.25), "profile.gpus: 0.25: .*one GPU each"),
        ({TASK: "2", EXECUTOR: "2"}, None, f"{TASK}: 2: set it to 1"),
        (
            {TASK: "1", EXECUTOR: "1", "spark.executor.pyspark.memory": "8g"},
            None,
            "spark.executor.pyspark.memory: '8g'",
        ),
        ({}, TaskProfile(gpus=1), f"profile.gpus: 1: executors have no GPUs: set {EXECUTOR}"),
        ({"spark.executor.cores": "4"}, TaskProfile(cpus=8), "profile.cpus: 8: ask for at most 4"),
        ({TASK: "one"}, None, "'one': give a number"),
    ],
)
def test_settings_that_waste_or_share_gpus_are_refused(
    settings: dict[str, str], profile: TaskProfile | None, says: str
):
    with pytest.raises(ClusterError, match=says):
        check_resources(settings.get, profile)


@pytest.mark.parametrize(
    ("settings", "profile"),
    [
        ({}, None),
        ({MEMORY: "8g"}, None),  # address space is plenty where no CUDA asks for it
        ({TASK: "0.5", EXECUTOR: "1"}, None),  # jobs that share a GPU because their user says so
        ({TASK: "1", EXECUTOR: "4"}, None),
        ({TASK: "0.5", EXECUTOR: "4"}, TaskProfile(gpus=1)),  # the profile counts, not what it replaces
        ({TASK: "2", EXECUTOR: "2"}, TaskProfile(gpus=1)),
        ({"spark.executor.cores": "4"}, TaskProfile(cpus=4)),
        ({TASK: "1"}, TaskProfile(gpus=1)),  # a platform that does not say what its executors have
    ],
)
def test_settings_that_use_every_gpu_are_taken(settings: dict[str, str], profile: TaskProfile | None):
    check_resources(settings.get, profile)


def test_a_profile_repeats_what_it_leaves_out():
    settings = {TASK: "1", "spark.task.cpus": "4"}
    assert TaskProfile(cpus=2).requests(settings.get) == (2, 1.0)
    assert TaskProfile(gpus=0.5).requests(settings.get) == (4, 0.5)
    assert TaskProfile(cpus=2).requests({}.get) == (2, None)


@pytest.mark.parametrize(
    ("options", "key"),
    [({}, "profile"), ({"cpus": 0}, "cpus"), ({"gpus": 0.0}, "gpus"), ({"gpus": 2.0}, "gpus"), ({"gpus": -1}, "gpus")],
)
def test_profiles_that_ask_for_nothing_usable_are_refused(options: dict[str, Any], key: str):
    with pytest.raises(OptionError, match=f"^{key}: "):
        TaskProfile(**options)


@pytest.mark.spark
def test_where_spark_has_no_profiles_they_are_refused_with_the_reason(spark: SparkSession):
    says = (
        "profile: needs Spark 4.0 or newer, this is 3.5" if OLD else r"profile: Spark has none with master 'local\[2\]'"
    )
    with pytest.raises(ClusterError, match=says):
        SparkRounds(spark=Session(profile=TaskProfile(cpus=2))).build(Probe(), None, spark)


# --------------------------------------------------------------------------------------------- on a cluster


def run_driver(where: str, conf: dict[str, str]) -> dict[str, Any]:
    """What profile_driver reported."""
    environment = spark_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
    command = [sys.executable, str(Path(__file__).with_name("profile_driver.py")), where]
    command += [f"{key}={value}" for key, value in conf.items()]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return dict(json.loads(x.removeprefix("REPORT ")) for x in done.stdout.splitlines() if x.startswith("REPORT "))


@pytest.fixture(scope="module", params=["session", "connect"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> dict[str, Any]:
    """The driver's reports, of a session with a JVM and of one of Spark Connect; executors have two cores and a GPU."""
    if OLD:
        pytest.skip(f"mapInArrow of pyspark {pyspark.__version__} takes no profile")
    conf = cluster.conf | {"spark.executor.cores": "2"}
    if request.param == "session":
        return run_driver(cluster.master, conf)
    if (why := why_no_server()) is not None:
        pytest.skip(why)
    with connect_server(tmp_path_factory.mktemp("server"), master=cluster.master, conf=conf) as server:
        return run_driver(server.url, {})


@pytest.mark.spark
@pytest.mark.slow
class TestCluster:
    """What jobs were granted, in a session with a JVM and through Spark Connect."""

    @pytest.mark.parametrize(("profile", "cpus"), [("none", 1), ("cpus", 2), ("gpus", 1)])
    def test_a_job_has_the_cores_of_its_profile_and_the_gpu_of_its_executor(
        self, seen: dict[str, Any], profile: str, cpus: int
    ):
        jobs = seen[profile]
        assert len(jobs) == 4
        assert {(job["cpus"], job["threads"], job["gpus"]) for job in jobs} == {(cpus, cpus, 1)}
        assert all(job["device"] == job["gpu"] for job in jobs)
        assert {job["gpu"] for job in jobs} <= {0, 1}

    def test_slots_are_counted_by_the_profile(self, seen: dict[str, Any]):
        slots = {name: seen.get(f"{name} slots") for name in ("none", "cpus", "gpus")}
        # Spark Connect does not tell
        assert slots in ({"none": 2, "cpus": 2, "gpus": 4}, {"none": None, "cpus": None, "gpus": None})

    def test_more_cores_than_an_executor_has_are_refused(self, seen: dict[str, Any]):
        assert seen["too many"] == "profile.cpus: 3: ask for at most 2, the cores of an executor"
