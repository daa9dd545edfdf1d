"""The results table: nothing is lost on the way through Parquet, and everybody can read it."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.errors import LeaseLost, OutputError
from spark_nas.search.records import CurvePoint, Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import SCHEMA, ParquetLog, read_table
from spark_nas.storage.rows import Reader, to_table
from tests.strategies import results

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

FIRST = Result(Job(Trial(0, Architecture({"e": "skip"}), {"lr": 0.5, "n": 3}), 0, 1), "completed", loss=0.5)
SECOND = Result(
    Job(Trial(0, Architecture({"e": "skip"}), {"lr": 0.5, "n": 3}), 1, 3, JobKey(0, 0)),
    "failed",
    error="Diverged: NaN\nTraceback",
    environment={"python": "3", "torch": "2"},
)


def completed(trial: int, rung: int = 0) -> Result:
    """A result with a curve of three epochs."""
    curve = tuple(CurvePoint(epoch, 1 / epoch, {"accuracy": 0.5}) for epoch in (1, 2, 3))
    job = Job(Trial(trial, Architecture({"e": "skip"}), {"lr": 0.5}), rung, 3)
    return Result(job, "completed", 1 / (trial + 2), {"accuracy": 0.5}, curve)


def same(left: Result, right: Result) -> bool:
    """Equal, with NaN equal to NaN."""
    return repr(left) == repr(right)


@given(result=results())
def test_any_result_survives_its_row(result: Result) -> None:
    (batch,) = to_table([result], 7, "run", {}).to_batches()
    ((again, asked),) = Reader({}).results(batch)
    assert same(again, result)
    assert asked == 7


@given(many=st.lists(results(), min_size=1, max_size=6), begin=st.integers(0, 5))
def test_rows_of_a_slice_are_those_of_the_results(many: list[Result], begin: int) -> None:
    table = to_table(many, 7, "run", {}).slice(begin)
    again = [result for batch in table.to_batches() for result, _ in Reader({}).results(batch)]
    assert [repr(result) for result in again] == [repr(result) for result in many[begin:]]


def test_rows_come_back_in_order_with_asked_and_the_shared_environment(tmp_path: Path) -> None:
    log = ParquetLog(LocalFiles(tmp_path), "r", {"python": "3"})
    log.append([FIRST], 4)
    log.append([SECOND], 5)
    again = ParquetLog(LocalFiles(tmp_path), "r", {"python": "3"})
    with_environment = dataclasses.replace(FIRST, environment={"python": "3"})
    rows = list(again.rows())
    assert [asked for _, asked in rows] == [4, 5]
    assert [same(row, r) for (row, _), r in zip(rows, [with_environment, SECOND], strict=True)] == [True, True]
    assert read_table(LocalFiles(tmp_path))["environment"].to_pylist() == [[], [("torch", "2")]]


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    one, two = (ParquetLog(LocalFiles(tmp_path), "r") for _ in range(2))
    one.append([FIRST], 1)
    with pytest.raises(LeaseLost, match="another driver") as caught:
        two.append([SECOND], 2)
    assert caught.value.exit_code == 75


@pytest.mark.parametrize("damage", [b"", b"PAR1 not really", None])
def test_a_damaged_part_is_named(tmp_path: Path, damage: bytes | None) -> None:
    ParquetLog(LocalFiles(tmp_path), "r").append([FIRST], 1)
    path = tmp_path / "results/part-00000000.parquet"
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    with pytest.raises(OutputError, match=r"part-00000000.parquet is not a results part"):
        read_table(LocalFiles(tmp_path))


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    pq.write_table(SCHEMA.with_metadata({"spark_nas": "999"}).empty_table(), tmp_path / "results/part-00000000.parquet")
    with pytest.raises(OutputError, match="schema 999"):
        read_table(LocalFiles(tmp_path))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    log = ParquetLog(LocalFiles(tmp_path), "r")
    log.append([FIRST], 1)
    log.append([SECOND], 2)
    return tmp_path / "results"


def test_pandas_reads_it(table: Path) -> None:
    frame = pd.read_parquet(table)
    assert frame["loss"].tolist()[0] == 0.5
    assert math.isnan(frame["loss"][1])
    assert frame["start_trial_id"].tolist()[1] == 0


def test_duckdb_reads_it(table: Path) -> None:
    sql = f"select trial_id, max(resource), count(*) from '{table}/*.parquet' group by all"
    assert duckdb.sql(sql).fetchall() == [(0, 3, 2)]


@pytest.mark.spark
def test_spark_sql_reads_it(table: Path, spark: SparkSession) -> None:
    spark.read.parquet(str(table)).createOrReplaceTempView("results")
    rows = spark.sql("select json_tuple(recipe, 'lr') as lr, status from results order by rung").collect()
    assert [tuple(row) for row in rows] == [("0.5", "completed"), ("0.5", "failed")]


def test_reading_leaves_no_thread_that_could_abort_the_interpreter_at_its_end(table: Path) -> None:
    program = (
        "import os, sys\n"
        "from spark_nas.storage.files import LocalFiles\n"
        "from spark_nas.storage.results import read_table\n"
        "threads = len(os.listdir('/proc/self/task'))\n"
        "rows = read_table(LocalFiles(sys.argv[1])).num_rows\n"
        "print(rows, len(os.listdir('/proc/self/task')) - threads)\n"
    )
    command = [sys.executable, "-c", program, str(table.parent)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["2", "0"]


def test_an_unknown_job_file_is_no_part_and_reading_changes_nothing(table: Path) -> None:
    (table / "_SUCCESS").write_bytes(b"")
    (table / "part-00000001-00000003.parquet").write_bytes(b"no block of ours")
    before = sorted(path.name for path in table.iterdir())
    log = ParquetLog(LocalFiles(table.parent), "r")
    assert len(list(log.rows())) == read_table(LocalFiles(table.parent)).num_rows == 2
    assert before == sorted(path.name for path in table.iterdir())


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    with ParquetLog(LocalFiles(tmp_path), "r") as log:
        for trial in range(3):
            log.append([completed(trial)], 1)
    (tmp_path / "results/part-00000001.parquet").unlink()
    with pytest.raises(OutputError, match=r"part-00000001.parquet is missing: the results table has lost rows"):
        ParquetLog(LocalFiles(tmp_path), "r")


def test_a_job_that_has_two_rows_is_named(tmp_path: Path) -> None:
    log = ParquetLog(LocalFiles(tmp_path), "r")
    log.append([FIRST, SECOND], 2)
    log.append([FIRST], 2)
    with pytest.raises(OutputError, match=r"part-00000001.parquet: a second row of job \(0, 0\)"):
        list(log.rows())


@pytest.mark.parametrize(
    ("column", "value"),
    [("recipe", "[1"), ("recipe", "5"), ("architecture", '"x"'), ("status", "lost"), ("trial_id", -1), ("rung", None)],
)
def test_values_that_make_no_result_are_an_error_that_names_the_part(
    tmp_path: Path, column: str, value: object
) -> None:
    (row,) = to_table([FIRST], 1, "r", {}).to_pylist(maps_as_pydicts="strict")
    (tmp_path / "results").mkdir()
    table = pa.Table.from_pylist([{**row, column: value}], schema=SCHEMA)
    pq.write_table(table, tmp_path / "results/part-00000000.parquet")
    with pytest.raises(OutputError, match=r"part-00000000.parquet is not a results part"):
        list(ParquetLog(LocalFiles(tmp_path), "r").rows())


def test_a_flipped_bit_in_the_rows_is_noticed(tmp_path: Path) -> None:
    ParquetLog(LocalFiles(tmp_path), "r").append([completed(trial) for trial in range(20)], 20)
    path = tmp_path / "results/part-00000000.parquet"
    good = path.read_bytes()
    rows = [repr(row) for row in ParquetLog(LocalFiles(tmp_path), "r").rows()]
    noticed = 0
    footer = int.from_bytes(good[-8:-4], "little") + 8
    for position in range(4, len(good) - footer, 5):
        path.write_bytes(good[:position] + bytes([good[position] ^ 16]) + good[position + 1 :])
        try:
            assert rows == [repr(row) for row in ParquetLog(LocalFiles(tmp_path), "r").rows()]
        except OutputError:
            noticed += 1
    assert noticed > 100
