"""The epochs of a prepared data set: complete, ordered by (seed, epoch) alone, the same cached and streamed."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_nas.data import dataset as module
from spark_nas.data.cache import DECODED
from spark_nas.data.dataset import ShardedData, ShardedDataset
from spark_nas.data.text_descriptor import load_any
from spark_nas.errors import DataError, OptionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
Batches = Iterable[tuple[np.ndarray, np.ndarray]]


def opened(path: Path, **options: int) -> ShardedDataset:
    return ShardedData(str(path), **options).build()


def listed(batches: Batches) -> list[tuple[bytes, bytes]]:
    return [(x.tobytes(), y.tobytes()) for x, y in batches]


def reference(path: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The split in stored order by plain pyarrow: the oracle."""
    table = pq.read_table(path / split).sort_by("id")
    descriptor = load_any(path)
    x = np.frombuffer(b"".join(table["x"].to_pylist()), descriptor.dtype)
    return x.reshape(-1, *descriptor.input_shape), table["y"].to_numpy()


def test_without_a_seed_the_order_is_the_stored_one(digits_folder: Path):
    for cache in (0, 64):
        batches = list(opened(digits_folder, cache_megabytes=cache).batches("train", 100))
        x, y = reference(digits_folder, "train")
        assert [len(b) for _, b in batches] == [100] * 12 + [58]
        assert np.array_equal(np.concatenate([b for b, _ in batches]), x)
        assert np.array_equal(np.concatenate([b for _, b in batches]), y)


@pytest.mark.parametrize("batch_size", [7, 50, 1000])
@pytest.mark.parametrize("window", [1, 5, 16])
def test_streamed_and_cached_epochs_are_equal_for_any_number_of_threads(
    many_groups: Path, batch_size: int, window: int
):
    cached = opened(many_groups, shuffle_window=window)
    expected = listed(cached.batches("train", batch_size, seed=3, epoch=2))
    for readers in (1, 4):
        stream = opened(many_groups, shuffle_window=window, cache_megabytes=0, readers=readers)
        assert listed(stream.batches("train", batch_size, seed=3, epoch=2)) == expected


def test_every_row_comes_once_in_a_shuffled_epoch(many_groups: Path):
    x, y = reference(many_groups, "train")
    expected = sorted(listed(zip(x, y, strict=True)))
    for window in (2, 16):
        batches = opened(many_groups, shuffle_window=window).batches("train", 32, seed=1)
        rows = [(row, label) for b, labels in batches for row, label in zip(b, labels, strict=True)]
        assert sorted(listed(rows)) == expected


def test_the_order_depends_on_seed_and_epoch(many_groups: Path):
    data = opened(many_groups)
    orders = {tuple(listed(data.batches("train", 64, seed=seed, epoch=epoch))) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4
    assert listed(data.batches("train", 64, seed=1, epoch=1)) == listed(data.batches("train", 64, seed=1, epoch=1))


def test_rows_are_mixed_across_row_groups_within_a_window(many_groups: Path):
    stored = {x.tobytes(): i for i, x in enumerate(reference(many_groups, "train")[0])}
    first, _ = next(opened(many_groups, shuffle_window=16).batches("train", 40, seed=1))
    assert len({stored[x.tobytes()] // 35 for x in first}) >= 8


@pytest.mark.parametrize("cache", [0, 64])
@pytest.mark.parametrize("seed", [None, 1])
def test_batches_are_the_callers_own(digits_folder: Path, cache: int, seed: int | None):
    data = opened(digits_folder, cache_megabytes=cache)
    expected = listed(data.batches("valid", 64, seed=seed))
    for x, y in data.batches("valid", 64, seed=seed):
        assert x.flags.writeable
        assert x.flags.c_contiguous
        assert (x.dtype, y.dtype, x.shape[1:]) == (np.uint8, np.int64, (1, 8, 8))
        x[:], y[:] = 0, 0
    assert listed(data.batches("valid", 64, seed=seed)) == expected


def test_a_second_epoch_does_not_read_the_shards(many_groups: Path, monkeypatch: pytest.MonkeyPatch):
    data = opened(many_groups)
    list(data.batches("train", 64))
    monkeypatch.setattr(module, "read_row_groups", None)
    assert sum(len(y) for _, y in opened(many_groups).batches("train", 64, seed=1)) == data.rows("train")


def test_splits_are_kept_in_turn_while_there_is_room(digits_folder: Path):
    data = opened(digits_folder)
    room = {split: data.rows(split) * (64 + 8) for split in ("train", "valid", "test")}
    tight = ShardedDataset(data.folder, data.descriptor, room["train"] + room["test"], 1, 16)
    assert {split: tight.is_cached(split) for split in room} == {"train": True, "valid": True, "test": False}
    for _ in range(2):
        for split in room:
            list(tight.batches(split, 100, seed=1))
            assert DECODED.bytes <= tight.cache_bytes
    assert DECODED.bytes == room["train"] + room["valid"]


def test_the_dataset_says_what_its_descriptor_says(digits_folder: Path):
    data = opened(digits_folder)
    assert (data.input_shape, data.classes, data.rows("valid")) == ((1, 8, 8), 10, 180)
    x, _ = reference(digits_folder, "train")
    assert (data.mean, data.std) == (pytest.approx([x.mean()]), pytest.approx([x.std()]))


def test_it_travels_to_executors_and_stays_in_their_reused_workers(spark: SparkSession, digits_folder: Path):
    data = pickle.loads(pickle.dumps(opened(digits_folder)))

    def count(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        import os

        from spark_nas.data.cache import DECODED as CACHE

        list(batches)
        before = CACHE.bytes
        rows = sum(len(y) for _, y in data.batches("train", 100, seed=1))
        yield pa.RecordBatch.from_pydict({"pid": [os.getpid()], "grown": [CACHE.bytes - before], "rows": [rows]})

    runs = [spark.range(0, 1, 1, 1).mapInArrow(count, "pid long, grown long, rows long").collect()[0] for _ in range(4)]
    assert {run.rows for run in runs} == {1258}
    # Four tasks on at most two workers, which may hold other tests' data: the first of each decodes, the rest do not.
    first = {run.pid: run for run in reversed(runs)}
    assert {run.grown for run in first.values()} == {1258 * 72}
    assert len(first) < 4
    assert {run.grown for run in runs if run is not first[run.pid]} == {0}


def test_an_abandoned_epoch_stops_its_threads(many_groups: Path):
    import threading

    before = threading.active_count()
    batches = opened(many_groups, cache_megabytes=0, readers=3).batches("train", 10, seed=1)
    next(batches)
    del batches
    assert threading.active_count() == before


# ---- what is wrong with the data is an error that names the file -------------------------------------------------


def test_an_unknown_split_names_those_there_are(digits_folder: Path):
    with pytest.raises(DataError, match="'dev' is not in data set 'digits': it has train, valid, test"):
        opened(digits_folder).batches("dev", 10)


def test_a_missing_and_a_cut_shard_are_found_when_it_is_built(digits_folder: Path, copy_of: Callable[[Path], Path]):
    path = copy_of(digits_folder)
    shard = path / "valid/part-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(DataError, match=r"valid/part-00002.parquet: shard has"):
        opened(path)
    shard.unlink()
    with pytest.raises(DataError, match=r"valid/part-00002.parquet: shard is missing"):
        opened(path)


@pytest.mark.parametrize("cache", [0, 64])
@pytest.mark.parametrize("where", [40, -6])
def test_a_flipped_byte_names_the_shard(digits_folder: Path, copy_of: Callable[[Path], Path], cache: int, where: int):
    path = copy_of(digits_folder)
    shard = path / "train/part-00001.parquet"
    content = bytearray(shard.read_bytes())
    content[where + (len(content) // 2 if where > 0 else 0)] ^= 0xFF
    shard.write_bytes(bytes(content))
    data = opened(path, cache_megabytes=cache)
    with pytest.raises(DataError, match=r"train/part-00001.parquet: unreadable shard") as caught:
        list(data.batches("train", 100, seed=1))
    assert "\n" not in str(caught.value)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table], groups: int = 1_000_000) -> None:
    shard = path / "train/part-00001.parquet"
    pq.write_table(change(pq.read_table(shard)), shard, row_group_size=groups)


@pytest.mark.parametrize("cache", [0, 64])
@pytest.mark.parametrize(
    ("change", "groups", "message"),
    [
        (lambda t: t.slice(1), 10**6, "is not one that the descriptor names"),
        (lambda t: t.slice(0, t.num_rows - 1), 10**6, "is not one that the descriptor names"),
        (lambda t: pa.concat_tables([t, t]), 315, "was read twice"),
        (lambda t: t.take(list(range(t.num_rows))[::-1]), 10**6, "is not one that the descriptor names"),
        (lambda t: t.drop_columns(["y"]), 10**6, "column y is missing"),
        (lambda t: t.set_column(1, "y", pa.array(np.full(t.num_rows, 10))), 10**6, "labels outside 0..9"),
        (lambda t: t.set_column(0, "x", pa.array([b"short"] * t.num_rows)), 10**6, "bytes of x"),
    ],
)
def test_shards_that_are_not_what_the_descriptor_says_are_errors(
    digits_folder: Path,
    copy_of: Callable[[Path], Path],
    cache: int,
    change: Callable[[pa.Table], pa.Table],
    groups: int,
    message: str,
):
    path = copy_of(digits_folder)
    data = opened(path, cache_megabytes=cache)
    rewrite(path, change, groups)
    if message.startswith("column"):
        for shard in (path / "train").iterdir():
            pq.write_table(
                change(pq.read_table(shard)) if "y" in pq.read_schema(shard).names else pq.read_table(shard), shard
            )
    with pytest.raises(DataError, match=message):
        list(data.batches("train", 100, seed=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path": ""}, "path: ''"),
        ({"path": "ftp://bucket/x"}, "s3://, s3a://, gs:// or abfss://"),
        ({"path": "s3:///x"}, "with a bucket"),
        ({"path": "s3://bucket/../x"}, "leave . and .. out"),
        ({"path": "x", "cache_megabytes": -1}, "cache_megabytes: -1: must be at least 0"),
        ({"path": "x", "readers": 0}, "readers: 0: must be at least 1"),
        ({"path": "x", "shuffle_window": 0}, "shuffle_window: 0"),
    ],
)
def test_an_unusable_option_is_named(options: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message):
        ShardedData(**options)


def test_a_batch_size_below_one_is_a_programming_error(digits_folder: Path):
    with pytest.raises(ValueError, match="batch_size"):
        opened(digits_folder).batches("train", 0)
