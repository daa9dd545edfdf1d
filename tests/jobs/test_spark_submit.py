"""The jobs as a cluster runs them: `spark-submit jobs/COMMAND.py`, with the package from a built wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import pytest

from spark_nas.cli import main
from spark_nas.commands.runs import Run
from spark_nas.search.records import Result
from tests.cluster import Cluster, spark_environment

pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(900)]

REPOSITORY = Path(__file__).resolve().parents[2]


class Deployment(NamedTuple):
    """What is carried to a cluster: jobs, experiment files and the package as a zip; and a Python without ours."""

    folder: Path
    package: Path
    environment: dict[str, str]

    def submit(self, *arguments: str) -> str:
        """`spark-submit` from the folder; returns what was printed."""
        command = [f"{self.environment['SPARK_HOME']}/bin/spark-submit", *arguments]
        done = subprocess.run(
            command, check=False, env=self.environment, cwd=self.folder, capture_output=True, text=True, timeout=600
        )
        assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    folder = tmp_path_factory.mktemp("deployment")
    source = folder / "source"  # setuptools writes beside what it builds
    shutil.copytree(REPOSITORY / "spark_nas", source / "spark_nas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source)], check=True
    )
    [wheel] = folder.glob("*.whl")
    package = wheel.rename(folder / f"{wheel.name.removesuffix('-py3-none-any.whl')}.zip")
    shutil.rmtree(source)
    for name in ("jobs", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = spark_environment() | {"PYSPARK_PYTHON": str(_python_without_spark_nas(folder))}
    return Deployment(folder, package, environment)


def _python_without_spark_nas(folder: Path) -> Path:
    """This interpreter with its packages, but without the .pth files that put the repository on its path."""
    script = folder / "python"
    packages = sysconfig.get_path("purelib")
    script.write_text(f"""#!/bin/sh
export PYTHONPATH="${{PYTHONPATH:+$PYTHONPATH:}}{packages}"
exec "{sys.executable}" -S "$@"
""")
    script.chmod(0o755)
    command = [script, "-c", "import numpy, spark_nas"]
    found = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)
    assert "No module named 'spark_nas'" in found.stderr
    return script


@pytest.fixture(scope="module")
def on_cluster(deployment: Deployment, cluster: Cluster) -> list[str]:
    """The options of `spark-submit` for two executors with a GPU address each."""
    conf = [part for key, value in cluster.conf.items() for part in ("--conf", f"{key}={value}")]
    return ["--master", cluster.master, *conf, "--py-files", str(deployment.package)]


@pytest.fixture(scope="module")
def run(deployment: Deployment, on_cluster: list[str]) -> Run:
    """A run of conf/asha.yaml there, on data that were prepared there."""
    folder = deployment.folder
    prepare = ["jobs/prepare_data.py", "digits", "--output", ".data/digits", "--test-fraction", "0.8"]
    said = deployment.submit(*on_cluster, *prepare)
    assert said.splitlines() == [
        "prepare-data: reading digits",
        "prepare-data: opening a Spark session",
        f"prepare-data: writing 1,797 rows in 12 shards to {folder}/.data/digits",
        f"digits: train 179, valid 180, test 1,438 examples of 1x8x8, 10 classes, in {folder}/.data/digits",
    ]
    # A rate that diverges: a traceback tells which files an executor ran, and where they lay.
    rates = "recipe.learning_rate={choice: [0.1, 1e30]}"
    search = ["jobs/search.py", "conf/asha.yaml", "--output", str(folder / "runs"), "--run-id", "asha"]
    said = deployment.submit(*on_cluster, *search, "--set", rates)
    assert f"Run: {folder}/runs/asha" in said
    return Run(str(folder / "runs/asha"))


@pytest.fixture(scope="module")
def searched(run: Run) -> list[Result]:
    return run.results()


def test_the_whole_search_ran_and_its_failures_are_the_trials_own(searched: list[Result]):
    assert 27 == sum(result.job.rung == 0 for result in searched)
    assert 9 in {result.job.resource for result in searched if result.usable}
    reasons = {result.error.split(":")[0] for result in searched if result.error}
    assert {"Diverged"} == reasons
    assert {1} == {result.attempt for result in searched}


def test_every_job_saw_the_gpu_address_of_its_executor_and_no_other(searched: list[Result]):
    addresses = defaultdict(set)
    for result in searched:
        _, pid, gpu = result.executor.split("/")
        addresses[pid].add(gpu)
    assert [{"gpu-0"}, {"gpu-1"}] == sorted(addresses.values(), key=min)


def test_executors_ran_the_submitted_wheel(searched: list[Result], deployment: Deployment):
    # The package's own files: those of a .venv in a clone that is named after it lie further down.
    ran = re.compile(r'File "(\S*)/spark_nas/[\w/]+\.py"')
    places = {(r.executor.split("/")[2], place) for r in searched for place in ran.findall(r.error or "")}
    assert {"gpu-0", "gpu-1"} == {gpu for gpu, _ in places}
    assert {deployment.package.name} == {Path(place).name for _, place in places}


def test_the_driver_ran_the_submitted_wheel(run: Run, deployment: Deployment):
    revision = run.record["code_revision"]  # of a checkout it would be a commit
    assert deployment.package.name.removesuffix(".zip").replace("-", " ") == revision


def test_a_fake_gpu_is_recorded_but_trained_on_the_cpu(searched: list[Result]):
    assert {"cpu"} == {result.environment["device"] for result in searched}


@pytest.mark.one_spark
@pytest.mark.exhaustive  # its script and its way to the cluster are those of `search`
def test_the_best_trial_is_retrained_there(deployment: Deployment, on_cluster: list[str], run: Run):
    said = deployment.submit(*on_cluster, "jobs/retrain.py", run.files.root, "--epochs", "1")
    ended = said.splitlines()[-1]
    assert re.fullmatch(r"Trial \d+ retrained for 1 epochs with 1 seed\(s\): test accuracy [\d.]+ %", ended)
    assert 1 == (run.retrained() or {})["epochs"]


@pytest.mark.one_spark
@pytest.mark.parametrize("command", ["plan", "report", "retrain"])
def test_a_submitted_job_takes_the_arguments_of_its_command(
    deployment: Deployment, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert 0 == end.value.code
    said = deployment.submit("--py-files", str(deployment.package), f"jobs/{command}.py", "--help")
    assert capsys.readouterr().out == said
