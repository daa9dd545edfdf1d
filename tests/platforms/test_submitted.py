"""What `spark-nas submit emr` prints, given to a real spark-submit: it arrives whole, and its exit code comes back."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from spark_nas.cli import main
from spark_nas.commands.runs import Run
from spark_nas.platforms.entry import verdict
from spark_nas.storage.lease import Lease
from spark_nas.storage.locations import open_files
from tests.cluster import spark_environment
from tests.platforms.schemas import REPOSITORY

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.slow]

EXPERIMENT = """\
name: "{{braces}} $HOME 'quotes'"
space: mlp
scheduler: {name: successive_halving, max_resource: 3, trials: 3}
evaluator: synthetic
engine: spark_rounds
"""
ELSEWHERE = ("spark.yarn.", "spark.executor.", "spark.dynamicAllocation.", "spark.pyspark.")
"""What only a cluster has."""


def on_this_machine(request: str, folder: Path) -> list[str]:
    """The step's command, with this machine's Spark instead of YARN."""
    arguments = json.loads(request)["Steps"][0]["HadoopJarStep"]["Args"]
    command = [f"{spark_environment()['SPARK_HOME']}/bin/spark-submit", "--master", "local[2]"]
    rest = iter(arguments[3:])
    assert ["spark-submit", "--deploy-mode", "cluster"] == arguments[:3]
    for part in rest:
        if part == "--conf":
            setting = next(rest)
            command += [] if setting.startswith(ELSEWHERE) else [part, setting]
        else:
            command.append(part.replace("s3://b/code", str(folder)))
    return command


def test_the_step_runs_the_experiment_and_tells_75_and_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    shutil.copy(REPOSITORY / "jobs" / "entry.py", tmp_path)
    package = shutil.make_archive(str(tmp_path / "spark_nas-0.1.0"), "zip", REPOSITORY, "spark_nas")
    assert Path(package).exists()
    place = ["--output", str(tmp_path / "runs"), "--run-id", "r", "--code", "s3://b/code", "--cluster", "j-1"]
    small = ["--unchecked", "--gpus", "0", "--cores", "1", "--attempt", "1"]
    assert 0 == main(["submit", "emr", str(tmp_path / "e.yaml"), *place, *small])
    command = on_this_machine(capsys.readouterr().out, tmp_path)
    ending = f"{tmp_path}/runs/r/_endings/1.json"

    def code() -> int:
        return subprocess.run(
            command, cwd=tmp_path, env=spark_environment(), capture_output=True, check=False
        ).returncode

    with Lease(open_files(str(tmp_path / "runs" / "r"))):
        assert (75, 75) == (code(), verdict(ending))
    assert (0, 0) == (code(), verdict(ending))
    run = Run(str(tmp_path / "runs" / "r"))
    assert "{{braces}} $HOME 'quotes'" == run.experiment.name
    assert 4 == len(run.results())
