"""The Spark engines on a cluster of separate processes, each executor with a GPU address of its own."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from spark_nas.search.records import Result
from spark_nas.search.wire import result_from_json
from tests.cluster import Cluster, spark_environment

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.slow]

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> dict[str, list[Result]]:
    """The results of each engine, from one application submitted to a cluster with the package as a zip."""
    folder = tmp_path_factory.mktemp("submitted")
    shutil.copytree(REPOSITORY / "spark_nas", folder / "source/spark_nas", ignore=shutil.ignore_patterns("__pycache__"))
    package = shutil.make_archive(str(folder / "spark_nas"), "zip", folder / "source")
    conf = [x for key, value in cluster.conf.items() for x in ("--conf", f"{key}={value}")]
    environment = spark_environment()
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", cluster.master, *conf]
    command += ["--py-files", package, str(Path(__file__).with_name("standalone_driver.py"))]
    # another folder than the repository, so that the package can only come from the zip
    done = subprocess.run(
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    results: dict[str, list[Result]] = defaultdict(list)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            _, engine, text = line.split(" ", 2)
            results[engine].append(result_from_json(text))
    return results


@pytest.mark.parametrize("engine", ["SparkRounds", "SparkAsync"])
def test_every_job_saw_the_gpu_of_its_executor_and_no_other(outcome: dict[str, list[Result]], engine: str):
    results = outcome[engine]
    assert [r.status for r in results] == ["completed"] * 6, results[0].error
    seen = {(r.executor.split("/")[1], r.executor.split("/")[2], r.metrics["gpu"]) for r in results}
    assert {(gpu, device) for _, gpu, device in seen} == {("gpu-0", 0.0), ("gpu-1", 1.0)}
    assert len({pid for pid, _, _ in seen}) == 2  # two warm workers, each always with its own address


def test_each_process_of_a_supernet_saw_the_gpu_of_its_task_alone(outcome: dict[str, list[Result]]):
    supernet = outcome["SparkDistributed"][0]
    assert supernet.status == "completed", supernet.error
    assert supernet.metrics["seen"] in {1.0, 10.0}  # one saw GPU 0 and the other GPU 1, in either order


def test_after_a_supernet_its_workers_have_the_gpus_that_spark_gives_them(outcome: dict[str, list[Result]]):
    jobs = outcome["SparkDistributed"][1:]
    assert [r.status for r in jobs] == ["completed"] * 6, jobs[0].error
    seen = {(r.executor.split("/")[2], r.metrics["narrowed"], r.metrics["rank"]) for r in jobs}
    assert seen == {("gpu-0", 0.0, 0.0), ("gpu-1", 0.0, 0.0)}


def test_executors_get_the_package_from_the_submitted_zip(outcome: dict[str, list[Result]]):
    assert {r.metrics["from_zip"] for results in outcome.values() for r in results if "from_zip" in r.metrics} == {1.0}
