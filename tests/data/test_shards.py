"""A split is cut without gap or overlap, and a file is written whole, the same by any attempt."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.folder import open_folder
from spark_nas.data.shards import ROW_GROUP_BYTES, ShardPlan, plan_shards, stage, to_table, write_shard, write_shards

X = np.random.default_rng(1).normal(size=(10, 2, 3)).astype(np.float32)
Y = np.arange(10, dtype=np.int64)
counts = st.integers(1, 40).flatmap(lambda shards: st.tuples(st.integers(shards, 100_000), st.just(shards)))


@given(counts, st.integers(1, 10**7))
def test_shards_follow_one_another_and_differ_by_one_row_at_most(rows_shards: tuple[int, int], size: int) -> None:
    rows, shards = rows_shards
    plans = plan_shards(open_folder("/out"), "train", rows, shards, size)
    assert [0, *(plan.stop for plan in plans[:-1])] == [plan.start for plan in plans]
    assert (rows, shards) == (plans[-1].stop, len({plan.name for plan in plans}))
    lengths = {plan.stop - plan.start for plan in plans}
    assert max(lengths) - min(lengths) <= 1


@given(counts, st.integers(1, 10**7))
def test_row_groups_hold_as_many_rows_as_the_bound_allows_but_at_least_one(
    rows_shards: tuple[int, int], size: int
) -> None:
    for plan in plan_shards(open_folder("/out"), "train", *rows_shards, size):
        assert 1 <= plan.row_group_rows <= max(1, ROW_GROUP_BYTES // size)


@pytest.fixture
def plan(tmp_path: Path) -> ShardPlan:
    """Rows 100..110 in row groups of 4, staged."""
    planned = ShardPlan(open_folder(tmp_path), "train", 2, 100, 110, 4)
    stage(planned, X, Y)
    return planned


def target(plan: ShardPlan) -> Path:
    return Path(plan.folder.location, plan.name)


def test_a_file_says_the_rows_that_were_staged(plan: ShardPlan) -> None:
    file = write_shard(plan)
    table = pq.read_table(target(plan))
    assert ("train/part-00002.parquet", 10, (4, 4, 2)) == (file.name, file.rows, file.row_groups)
    assert target(plan).stat().st_size == file.bytes
    assert [x.tobytes() for x in X] == table["x"].to_pylist()
    assert Y.tolist() == table["y"].to_pylist()
    assert list(range(100, 110)) == table["id"].to_pylist()


def test_a_second_attempt_leaves_the_same_file_and_nothing_else(plan: ShardPlan) -> None:
    first = write_shard(plan)
    content = target(plan).read_bytes()
    assert first == write_shard(plan)
    assert content == target(plan).read_bytes()
    assert ["part-00002.parquet"] == [path.name for path in target(plan).parent.iterdir()]


def test_a_failed_attempt_leaves_nothing(plan: ShardPlan) -> None:
    Path(plan.folder.location, plan.staged).write_bytes(b"cut short")
    with pytest.raises(pa.ArrowInvalid):
        write_shard(plan)
    assert [] == list(target(plan).parent.iterdir())


def test_a_task_reports_each_shard_it_was_given(plan: ShardPlan) -> None:
    other = replace(plan, number=3)
    stage(other, X, Y)
    ids = iter([pa.RecordBatch.from_pydict({"id": [1]}), pa.RecordBatch.from_pydict({"id": [0]})])
    (report,) = write_shards(ids, (plan, other))
    assert {"shard": [1, 0], "rows": [10, 10], "row_groups": ["4,4,2", "4,4,2"]} == report.drop_columns(
        ["bytes", "error"]
    ).to_pydict()
    assert [None, None] == report["error"].to_pylist()
    assert next(ids, None) is None


def test_what_storage_refuses_is_reported_in_one_line_with_the_file_and_the_machine(plan: ShardPlan) -> None:
    target(plan).parent.mkdir()
    target(plan).mkdir()  # so nothing can be renamed to it
    (report,) = write_shards(iter([pa.RecordBatch.from_pydict({"id": [0]})]), (plan,))
    (error,) = report["error"].to_pylist()
    assert [0] == report["rows"].to_pylist()
    assert error.startswith(f"{target(plan)}: cannot be written on {socket.gethostname()} (Is a directory)")


def test_rows_that_a_machine_does_not_see_are_reported_as_an_output_that_is_not_shared(plan: ShardPlan) -> None:
    Path(plan.folder.location, plan.staged).unlink()
    (report,) = write_shards(iter([pa.RecordBatch.from_pydict({"id": [0]})]), (plan,))
    assert (
        "No such file or directory: .staging/train-part-00002.arrow); the output must be" in report["error"][0].as_py()
    )


def test_bytes_are_little_endian_in_c_order_whatever_the_array() -> None:
    values = np.arange(12, dtype=">i4").reshape(2, 3, 2).transpose(0, 2, 1)
    stored = to_table(values, Y[:2], 0)["x"].to_pylist()
    assert [values[i].astype("<i4").tobytes() for i in range(2)] == stored
