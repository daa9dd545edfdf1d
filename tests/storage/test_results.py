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

from spark_nas.errors import OutputError
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import SCHEMA, ParquetLog, _result, _row, read_table
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


def same(left: Result, right: Result) -> bool:
    """Equal, with NaN equal to NaN."""
    return repr(left) == repr(right)


@given(result=results())
def test_any_result_survives_its_row(result: Result) -> None:
    table = pa.Table.from_pylist([_row(result, 7, "run", {})], schema=SCHEMA)
    (row,) = table.to_pylist(maps_as_pydicts="strict")
    assert same(_result(row, {}), result)


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
    with pytest.raises(OutputError, match="another driver"):
        two.append([SECOND], 2)


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
