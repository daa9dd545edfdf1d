"""Shards: how a split is cut into files and row groups, and the function by which an executor writes one file.

The unit that petastorm shuffles and hands to reader shards is the row group, so every file is one shard and has at
least one; row groups are kept at a few MiB so that a window of them fits in memory. Pages carry checksums: a flipped
bit in a shard is an error when it is read, not a wrong pixel.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spark_nas.data.descriptor import ShardFile
from spark_nas.data.folder import DataFolder, reason

ROW_GROUP_BYTES = 4 << 20
"""Most bytes of decoded examples in a row group."""
RESULT_SCHEMA = "shard bigint, rows bigint, row_groups string, bytes bigint, error string"
"""What `write_shards` yields, as Spark DDL."""
_NOTHING = ShardFile("", 0, (), 0)
STAGING = ".staging"
"""Folder of the rows that wait for their task, below the data set's."""


@dataclass(frozen=True)
class ShardPlan:
    """One file to write: rows `start`..`stop` of a split's stored order."""

    folder: DataFolder
    """The data set's, which the driver and every executor reach."""
    split: str
    number: int
    start: int
    stop: int
    row_group_rows: int

    @property
    def name(self) -> str:
        """Of the Parquet file, below the data set's folder."""
        return f"{self.split}/part-{self.number:05d}.parquet"

    @property
    def staged(self) -> str:
        """Of the staged rows, an Arrow file, below the data set's folder."""
        return f"{STAGING}/{self.split}-part-{self.number:05d}.arrow"


def plan_shards(folder: DataFolder, split: str, rows: int, shards: int, example_bytes: int) -> list[ShardPlan]:
    """Cut a split into `shards` files of nearly equal rows. Needs rows >= shards."""
    bounds = [rows * i // shards for i in range(shards + 1)]
    most = max(1, ROW_GROUP_BYTES // example_bytes)
    plans = []
    for number in range(shards):
        start, stop = bounds[number], bounds[number + 1]
        # Equal row groups rather than full ones and a small rest: every shuffle window then holds about as many rows.
        groups = math.ceil((stop - start) / most)
        plans.append(ShardPlan(folder, split, number, start, stop, math.ceil((stop - start) / groups)))
    return plans


def stage(plan: ShardPlan, x: NDArray[np.generic], y: NDArray[np.int64]) -> None:
    """Write a shard's rows as an Arrow file that its task will find, one record batch for each row group."""
    table = to_table(x, y, plan.start)
    with (
        plan.folder.creating(plan.staged) as path,
        pa.OSFile(str(path), "wb") as sink,
        pa.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=plan.row_group_rows)


def to_table(x: NDArray[np.generic], y: NDArray[np.int64], first_id: int) -> pa.Table:
    """Rows as columns x (fixed-size binary, little-endian bytes in C order), y, id."""
    little = np.ascontiguousarray(x, dtype=x.dtype.newbyteorder("<"))
    width = little.nbytes // len(little)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(little), [None, pa.py_buffer(little)])
    ids = pa.array(np.arange(first_id, first_id + len(y), dtype=np.int64))
    fields = [
        pa.field("x", pa.binary(width), False),
        pa.field("y", pa.int64(), False),
        pa.field("id", pa.int64(), False),
    ]
    return pa.Table.from_arrays([column, pa.array(y), ids], schema=pa.schema(fields))


def write_shard(plan: ShardPlan) -> ShardFile:
    """Turn staged rows into the Parquet file, atomically: any number of attempts may run, each leaves the same file.

    Holds one row group in memory. Raises OSError or pyarrow's errors.
    """
    with plan.folder.creating(plan.name) as path:
        with plan.folder.filesystem().open_input_file(plan.staged) as source, pa.ipc.open_file(source) as staged:
            _write_parquet(staged, path, plan.row_group_rows)
        footer, size = pq.read_metadata(path), path.stat().st_size
    groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
    return ShardFile(plan.name, footer.num_rows, groups, size)


def _write_parquet(staged: pa.ipc.RecordBatchFileReader, path: Path, row_group_rows: int) -> None:
    with pq.ParquetWriter(
        path,
        staged.schema,
        use_dictionary=["y"],
        write_statistics=["y", "id"],
        compression="snappy",
        write_page_checksum=True,
    ) as writer:
        for number in range(staged.num_record_batches):
            writer.write_batch(staged.get_batch(number), row_group_size=row_group_rows)


def write_shards(batches: Iterator[pa.RecordBatch], plans: tuple[ShardPlan, ...]) -> Iterator[pa.RecordBatch]:
    """The task function for `spark.range(len(plans), numPartitions=len(plans)).mapInArrow`: one shard for each id.

    The input is drained before the first output: otherwise PySpark throws its Python worker away. What the storage
    refuses is reported, not raised: Spark would try a full disk again and end in a stack trace.
    """
    numbers = [number for batch in batches for number in batch.column(0).to_pylist()]
    reports = [_report(plans[number]) for number in numbers]
    columns = {
        "shard": pa.array(numbers, pa.int64()),
        "rows": pa.array([file.rows for file, _ in reports], pa.int64()),
        "row_groups": pa.array([",".join(map(str, file.row_groups)) for file, _ in reports], pa.string()),
        "bytes": pa.array([file.bytes for file, _ in reports], pa.int64()),
        "error": pa.array([error for _, error in reports], pa.string()),
    }
    yield pa.RecordBatch.from_pydict(columns)


def _report(plan: ShardPlan) -> tuple[ShardFile, str | None]:
    """What was written, or why nothing was."""
    where = f"{plan.folder.location}/{plan.name}: cannot be written on {socket.gethostname()}"
    try:
        return write_shard(plan), None
    except FileNotFoundError as error:
        why = f"{where} ({reason(error)}: {plan.staged}); the output must be a folder that the driver and every "
        return _NOTHING, why + "executor share, or an object store"
    except (OSError, pa.ArrowException) as error:
        return _NOTHING, f"{where} ({reason(error)}); free space there or give another folder, and run it again"
