"""Shards: how a split is cut into files and row groups, and the function by which an executor writes one file.

The unit that petastorm shuffles and hands to reader shards is the row group, so every file is one shard and has at
least one; row groups are kept at a few MiB so that a window of them fits in memory. Pages carry checksums: a flipped
bit in a shard is an error when it is read, not a wrong pixel.
"""

from __future__ import annotations

import math
import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spark_nas.data.descriptor import ShardFile

ROW_GROUP_BYTES = 4 << 20
"""Most bytes of decoded examples in a row group."""
RESULT_SCHEMA = "shard bigint, rows bigint, row_groups string, bytes bigint"
"""What `write_shards` yields, as Spark DDL."""


@dataclass(frozen=True)
class ShardPlan:
    """One file to write: rows `start`..`stop` of a split's stored order."""

    split: str
    number: int
    start: int
    stop: int
    row_group_rows: int
    staged: str
    """Absolute path of the staged rows, an Arrow file."""
    target: str
    """Absolute path of the Parquet file."""

    @property
    def name(self) -> str:
        """Path below the data set's folder."""
        return f"{self.split}/{Path(self.target).name}"


def plan_shards(output: Path, staging: Path, split: str, rows: int, shards: int, example_bytes: int) -> list[ShardPlan]:
    """Cut a split into `shards` files of nearly equal rows. Needs rows >= shards."""
    bounds = [rows * i // shards for i in range(shards + 1)]
    most = max(1, ROW_GROUP_BYTES // example_bytes)
    plans = []
    for number in range(shards):
        start, stop = bounds[number], bounds[number + 1]
        # Equal row groups rather than full ones and a small rest: every shuffle window then holds about as many rows.
        groups = math.ceil((stop - start) / most)
        name = f"part-{number:05d}"
        target, staged = output / split / f"{name}.parquet", staging / f"{split}-{name}.arrow"
        plans.append(
            ShardPlan(split, number, start, stop, math.ceil((stop - start) / groups), str(staged), str(target))
        )
    return plans


def stage(plan: ShardPlan, x: NDArray[np.generic], y: NDArray[np.int64]) -> None:
    """Write a shard's rows as an Arrow file that its task will find."""
    table = to_table(x, y, plan.start)
    with pa.OSFile(plan.staged, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


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
    """Turn staged rows into the Parquet file, atomically: any number of attempts may run, each leaves the same file."""
    target = Path(plan.target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp")
    try:
        with pa.memory_map(plan.staged) as source:
            pq.write_table(
                pa.ipc.open_file(source).read_all(),
                temporary,
                row_group_size=plan.row_group_rows,
                use_dictionary=["y"],
                write_statistics=["y", "id"],
                compression="snappy",
                write_page_checksum=True,
            )
        footer = pq.read_metadata(temporary)
        groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
        size = temporary.stat().st_size
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    return ShardFile(plan.name, footer.num_rows, groups, size)


def write_shards(batches: Iterator[pa.RecordBatch], plans: tuple[ShardPlan, ...]) -> Iterator[pa.RecordBatch]:
    """The task function for `spark.range(len(plans), numPartitions=len(plans)).mapInArrow`: one shard for each id.

    The input is drained before the first output: otherwise PySpark throws its Python worker away.
    """
    numbers = [number for batch in batches for number in batch.column(0).to_pylist()]
    files = [write_shard(plans[number]) for number in numbers]
    columns = {
        "shard": pa.array(numbers, pa.int64()),
        "rows": pa.array([file.rows for file in files], pa.int64()),
        "row_groups": pa.array([",".join(map(str, file.row_groups)) for file in files], pa.string()),
        "bytes": pa.array([file.bytes for file in files], pa.int64()),
    }
    yield pa.RecordBatch.from_pydict(columns)
