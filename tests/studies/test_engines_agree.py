"""One search, one table: whatever the engine, the number of executors, and wherever it was interrupted.

Real networks on real data; floats are compared to the last bit.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spark_nas.cli import main
from tests.cluster import Cluster, spark_environment, standalone_cluster
from tests.studies.searches import LOCAL, ROUNDS, arguments, cut, rows_of, search, table, write_experiment

pytestmark = [pytest.mark.spark, pytest.mark.slow]

JOBS = 22
EXECUTORS = [1, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agree")


@pytest.fixture(scope="module")
def digits(folder: Path, spark: SparkSession) -> Path:
    output = ["--output", str(folder / "digits"), "--shards", "2", "--test-fraction", "0.6"]  # to train on few
    assert 0 == main(["prepare-data", "digits", *output])
    return folder / "digits"


@pytest.fixture(scope="module")
def mlp(folder: Path, digits: Path) -> Path:
    """An experiment, and beside it its search on the local engine."""
    experiment = write_experiment(folder / "mlp", "mlp", digits)
    search(experiment, folder / "mlp/local", LOCAL)
    return experiment


@pytest.fixture(scope="module")
def cell(folder: Path, digits: Path) -> Path:
    """The same with convolutions."""
    experiment = write_experiment(folder / "cell", "cell", digits)
    search(experiment, folder / "cell/local", LOCAL)
    return experiment


@pytest.fixture(scope="module")
def on_clusters(cell: Path, folder: Path) -> dict[int, Path]:
    """The runs of `cell` on a standalone cluster, with 1 and with 2 executors, side by side."""
    outputs = {executors: cell.parent / f"executors-{executors}" for executors in EXECUTORS}
    place = folder / "cluster"
    place.mkdir()
    with standalone_cluster(place, workers=sum(EXECUTORS)) as cluster:
        running = [_start(cell, outputs[executors], cluster, executors) for executors in EXECUTORS]
        said = [process.communicate(timeout=240)[0] for process in running]
    assert [0, 0] == [process.returncode for process in running], "\n".join(text[-3000:] for text in said)
    return outputs


def _start(experiment: Path, output: Path, cluster: Cluster, executors: int) -> subprocess.Popen[str]:
    conf = json.dumps({**cluster.conf, "spark.cores.max": str(executors)})  # each executor has one core
    setting = f"engine={{name: spark_rounds, spark: {{master: '{cluster.master}', conf: {conf}}}}}"
    command = [sys.executable, "-m", "spark_nas.cli", *arguments(experiment, output, [setting])]
    return subprocess.Popen(
        command,
        env=spark_environment(),
        cwd=output.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def test_the_search_meets_success_and_failure(mlp: Path, cell: Path):
    for experiment in (mlp, cell):
        rows = rows_of(experiment.parent / "local")
        assert JOBS == len(rows)
        assert {"completed", "failed"} == {row["status"] for row in rows}
        assert 5 == sum(row["resource"] == 9 for row in rows)


def test_spark_rounds_give_the_table_of_the_local_engine(cell: Path, tmp_path: Path):
    assert table(cell.parent / "local") == search(cell, tmp_path, ROUNDS)


@pytest.mark.parametrize("executors", EXECUTORS)
def test_any_number_of_executors_gives_the_table_of_the_local_engine(
    cell: Path, on_clusters: dict[int, Path], executors: int
):
    output = on_clusters[executors]
    assert executors == len({row["executor"] for row in rows_of(output)})
    assert table(cell.parent / "local") == table(output)


@pytest.mark.parametrize("keep_commits", [True, False], ids=["commits-kept", "commits-lost"])
def test_a_search_resumed_from_any_prefix_of_its_log_gives_the_same_table(
    mlp: Path, tmp_path: Path, keep_commits: bool
):
    whole = mlp.parent / "local"
    for rows in range(JOBS + 1):
        cut(whole, tmp_path / str(rows), rows, keep_commits=keep_commits)
        assert table(whole) == search(mlp, tmp_path / str(rows), LOCAL), f"cut after {rows} rows"


@pytest.mark.parametrize("rows", [5, 12, 18])
def test_a_search_begun_locally_and_resumed_on_spark_gives_the_same_table(cell: Path, tmp_path: Path, rows: int):
    whole = cell.parent / "local"
    cut(whole, tmp_path, rows, keep_commits=False)
    assert table(whole) == search(cell, tmp_path, ROUNDS)


@pytest.mark.parametrize("rows", [7, 13])
def test_a_search_on_executors_resumed_locally_gives_the_same_table(
    on_clusters: dict[int, Path], cell: Path, tmp_path: Path, rows: int
):
    whole = on_clusters[2]
    cut(whole, tmp_path, rows, keep_commits=False)
    assert table(whole) == search(cell, tmp_path, LOCAL)
