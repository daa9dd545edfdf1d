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
from spark_nas.commands.runs import Run
from spark_nas.driver import replay
from tests.cluster import Cluster, spark_environment
from tests.studies.searches import LOCAL, ROUNDS, RUN_ID, arguments, cut, rows_of, search, table, write_experiment

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.slow, pytest.mark.timeout(900)]

JOBS = 22
REPOSITORY = Path(__file__).resolve().parents[2]
EXECUTORS = [1, 2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("agree")


@pytest.fixture(scope="module")
def digits(folder: Path, spark: SparkSession) -> Path:
    output = ["--output", str(folder / "digits"), "--shards", "2", "--test-fraction", "0.8"]  # to train on few
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
def on_clusters(cell: Path, folder: Path, cluster: Cluster) -> dict[int, Path]:
    """The runs of `cell` on a standalone cluster, with 1 executor and then with 2, from a process of their own."""
    outputs = {executors: cell.parent / f"executors-{executors}" for executors in EXECUTORS}
    lines = [arguments(cell, outputs[n], [_on_executors(cluster, n)]) for n in EXECUTORS]
    program = "import json, sys; from spark_nas.cli import main; sys.exit(sum(map(main, json.loads(sys.argv[1]))))"
    command = [sys.executable, "-c", program, json.dumps(lines)]
    environment = spark_environment()
    done = subprocess.run(
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=600
    )
    assert 0 == done.returncode, done.stdout[-3000:] + done.stderr[-3000:]
    return outputs


def _on_executors(cluster: Cluster, executors: int) -> str:
    conf = json.dumps({**cluster.conf, "spark.cores.max": executors})  # an executor has one core
    return f"engine={{name: spark_rounds, spark: {{master: '{cluster.master}', conf: {conf}}}}}"


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


@pytest.mark.parametrize("rows", [12, *(pytest.param(rows, marks=pytest.mark.exhaustive) for rows in (5, 18))])
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


def test_an_asynchronous_search_on_spark_replays_exactly_from_any_prefix_of_its_table(digits: Path, tmp_path: Path):
    search(REPOSITORY / "conf/asha.yaml", tmp_path, f"data.path={digits}")
    run = Run(str(tmp_path / RUN_ID))
    rows = list(run.log.rows())
    assert len(rows) == rows[-1][1]  # whatever was asked for has been told
    for count in range(len(rows) + 1):
        scheduler = run.parts().scheduler()
        flying, asked = replay(scheduler, rows[:count])
        later = {result.job.key: result.job for result, _ in rows[count:]}
        assert {key: later[key] for key in flying} == flying
        assert count + len(flying) == asked
    assert [] == scheduler.ask(10)
