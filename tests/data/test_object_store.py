"""Data sets on S3: the same shards and the same epochs as on disk, read and written where Spark's tasks run."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_nas.data.dataset import ShardedData, ShardedDataset
from spark_nas.data.folder import DataFolder, files_below, open_folder
from spark_nas.data.prepare import prepare
from spark_nas.data.prepare_text import prepare_text
from spark_nas.data.sources import Digits, Text
from spark_nas.data.text_descriptor import load_any
from spark_nas.errors import DataError, OutputError
from spark_nas.object_store import StorageOptions
from tests.data.faults import faulty
from tests.data.test_petastorm_compat import UNISCHEMA_KEY, Hostile
from tests.s3_endpoint import S3

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.usefixtures("s3")]


def upload(source: Path, target: DataFolder) -> DataFolder:
    """A copy of a local data set."""
    for path in source.rglob("*"):
        if path.is_file():
            with target.creating(path.relative_to(source).as_posix()) as copy:
                copy.write_bytes(path.read_bytes())
    return target


@pytest.fixture(scope="session")
def numbered_uri(numbered_folder: Path, s3_server: S3) -> str:
    """The numbered data set on S3. Not to be changed."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_server.environment.items():
            patch.setenv(name, value)
        return upload(numbered_folder, open_folder(s3_server.prefix())).location


@pytest.fixture
def tasks(spark: SparkSession, s3: S3, monkeypatch: pytest.MonkeyPatch) -> SparkSession:
    """Spark whose Python workers find credentials in their environment, and nothing else about the store."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setitem(spark.sparkContext.environment, name, s3.environment[name])
    return spark


@pytest.fixture
def own_uri(numbered_folder: Path, bucket: str) -> str:
    """A copy on S3 that the test may damage."""
    return upload(numbered_folder, open_folder(bucket)).location


def epoch(data: ShardedDataset, seed: int | None, split: str = "train") -> list[tuple[bytes, bytes]]:
    return [(x.tobytes(), y.tobytes()) for x, y in data.batches(split, 33, seed=seed, epoch=3)]


@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("cache", [0, 64])
@pytest.mark.parametrize("seed", [None, 5])
def test_an_epoch_is_the_same_from_s3_as_from_disk(
    numbered_folder: Path, numbered_uri: str, seed: int | None, cache: int, readers: int
) -> None:
    def build(path: str) -> ShardedDataset:
        return ShardedData(path, cache_megabytes=cache, readers=readers, shuffle_window=4).build()

    remote, local = build(numbered_uri), build(str(numbered_folder))
    assert local.fingerprint == remote.fingerprint
    for split in remote.descriptor.splits:
        assert epoch(local, seed, split) == epoch(remote, seed, split)


def test_s3a_is_s3(numbered_uri: str) -> None:
    other = ShardedData(numbered_uri.replace("s3://", "s3a://") + "/").build()
    assert numbered_uri == other.path
    assert epoch(ShardedData(numbered_uri).build(), 1) == epoch(other, 1)


def test_a_public_data_set_is_read_unsigned_whatever_the_run_does(
    numbered_folder: Path, own_uri: str, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket, _, prefix = own_uri.removeprefix("s3://").partition("/")
    client = s3.options().boto3_client()
    client.put_bucket_acl(Bucket=bucket, ACL="public-read")
    for item in client.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]:
        client.put_object_acl(Bucket=bucket, Key=item["Key"], ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    elsewhere = StorageOptions(endpoint="http://127.0.0.1:1", max_attempts=1)
    with pytest.raises(DataError):
        ShardedData(own_uri).build(elsewhere)
    public = ShardedData(own_uri, storage=s3.options(anonymous=True)).build(elsewhere)
    assert epoch(ShardedData(str(numbered_folder)).build(), 1) == epoch(public, 1)


def test_shards_written_to_s3_are_those_written_to_disk_and_nothing_else_is_left(
    tasks: SparkSession, bucket: str, tmp_path: Path
) -> None:
    local = prepare(tasks, Digits(), tmp_path / "d", shards=3)
    assert local == prepare(tasks, Digits(), bucket, shards=3)
    remote = open_folder(bucket)
    assert local == load_any(remote)
    written = sorted(
        path.relative_to(tmp_path / "d").as_posix() for path in (tmp_path / "d").rglob("*.*") if path.is_file()
    )
    assert written == sorted(entry.path for entry in files_below(remote) if entry.is_file)
    for name in written:
        assert (tmp_path / "d" / name).read_bytes() == remote.read(name)


def test_a_text_on_s3_is_the_text_on_disk(tasks: SparkSession, bucket: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 30)
    text = Text((str(tmp_path / "a.txt"),))
    local = prepare_text(tasks, text, tmp_path / "d", shards=2)
    assert local == prepare_text(tasks, text, bucket, shards=2)
    assert 8 == len([entry for entry in files_below(open_folder(bucket)) if entry.is_file])
    here, there = (ShardedData(str(place)).build() for place in (tmp_path / "d", bucket))
    assert here.vocabulary() == there.vocabulary()
    for split in local.splits:
        assert here.tokens(split).tolist() == there.tokens(split).tolist()


def test_a_data_set_on_s3_is_replaced_only_when_told_to_and_foreign_objects_never(
    tasks: SparkSession, bucket: str
) -> None:
    folder = open_folder(bucket)
    prepare(tasks, Digits(), folder, shards=3)
    with pytest.raises(OutputError, match=f"^{bucket}: holds a data set already"):
        prepare(tasks, Digits(), folder)
    prepare(tasks, Digits(), folder, shards=1, overwrite=True)
    assert 4 == len([entry for entry in files_below(folder) if entry.is_file])
    with folder.creating("thesis.tex") as path:
        path.write_text("years")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        prepare(tasks, Digits(), folder, overwrite=True)


def test_a_bucket_that_is_not_there_is_said_before_any_work() -> None:
    with pytest.raises(OutputError, match="s3://no-such-bucket-here/x: cannot be written") as caught:
        prepare(None, Digits(), "s3://no-such-bucket-here/x")
    assert 1 == len(str(caught.value).splitlines())
    with pytest.raises(DataError, match=r"s3://no-such-bucket-here/x/descriptor\.json: "):
        ShardedData("s3://no-such-bucket-here/x").build()


def test_executors_read_from_s3(tasks: SparkSession, numbered_uri: str) -> None:
    data = ShardedData(numbered_uri, cache_megabytes=0).build()
    expected = epoch(data, 2)

    def read(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        list(batches)
        content = b"".join(x + y for x, y in epoch(data, 2))
        yield pa.RecordBatch.from_pydict({"content": [content]})

    rows = tasks.range(0, 2, 1, 2).mapInArrow(read, "content binary").collect()
    assert [b"".join(x + y for x, y in expected)] * 2 == [bytes(row.content) for row in rows]


def test_a_data_set_carries_no_credentials(numbered_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-that-must-stay")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-that-must-stay")
    data = ShardedData(numbered_uri, cache_megabytes=0).build()
    next(data.batches("valid", 10))
    travelling = pickle.dumps(data)
    assert b"must-stay" not in travelling
    assert b"must-stay" not in repr(data).encode()


# ---- what is wrong is an error that names the object --------------------------------------------------------------


def damage(uri: str, name: str, change: Callable[[bytes], bytes]) -> None:
    folder = open_folder(uri)
    content = folder.read(name)
    assert content is not None
    with folder.creating(name) as path:
        path.write_bytes(change(content))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 4
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


def test_a_missing_data_set_and_a_missing_or_cut_shard_are_found_when_it_is_built(own_uri: str) -> None:
    damage(own_uri, "valid/part-00002.parquet", lambda content: content[:-7])
    with pytest.raises(DataError, match=f"^{own_uri}/valid/part-00002.parquet: shard has"):
        ShardedData(own_uri).build()
    open_folder(own_uri).remove("valid/part-00002.parquet")
    with pytest.raises(DataError, match=f"^{own_uri}/valid/part-00002.parquet: shard is missing"):
        ShardedData(own_uri).build()
    open_folder(own_uri).remove("descriptor.json")
    with pytest.raises(DataError, match=f"^{own_uri}/descriptor.json: missing"):
        ShardedData(own_uri).build()


@pytest.mark.parametrize("cache", [0, 64])
@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, "unreadable shard"),
        (flipped, "unreadable shard"),
        (lambda content: content[: len(content) // 2], "unreadable shard"),
        (lambda content: b"", "unreadable shard"),
    ],
)
def test_a_shard_that_vanishes_or_is_damaged_later_is_named(
    own_uri: str, cache: int, change: Callable[[bytes], bytes] | None, why: str
) -> None:
    data = ShardedData(own_uri, cache_megabytes=cache).build()
    if change is None:
        open_folder(own_uri).remove("train/part-00001.parquet")
    else:
        damage(own_uri, "train/part-00001.parquet", change)
    with pytest.raises(DataError, match=f"train/part-00001.parquet: {why}") as caught:
        list(data.batches("train", 33, seed=1))
    assert 1 == len(str(caught.value).splitlines())


def test_a_hostile_schema_beside_the_shards_is_not_executed(own_uri: str, tmp_path: Path) -> None:
    folder, mark = open_folder(own_uri), tmp_path / "executed"
    with folder.filesystem().open_input_file("train/part-00000.parquet") as handle:
        schema = pq.read_schema(handle).with_metadata({UNISCHEMA_KEY: pickle.dumps(Hostile(mark))})
    for name in ("_common_metadata", "_metadata", "train/_common_metadata", "train/_metadata"):
        with folder.creating(name) as path:
            pq.write_metadata(schema, path)
    data = ShardedData(own_uri, cache_megabytes=0).build()
    assert data.rows("train") == sum(len(y) for _, y in data.batches("train", 33, seed=1))
    assert not mark.exists()


# ---- a store that falters -----------------------------------------------------------------------------------------


def test_slow_downs_and_resets_are_waited_out(numbered_folder: Path, numbered_uri: str) -> None:
    plan = ["slow down", "pass", "reset", "pass", "pass"]
    with faulty(os.environ["AWS_ENDPOINT_URL"], lambda number: plan[number % len(plan)]) as faults:
        data = ShardedData(numbered_uri, cache_megabytes=0).build(StorageOptions(endpoint=faults.endpoint))
        content = epoch(data, 5, "valid")
    assert epoch(ShardedData(str(numbered_folder)).build(), 5, "valid") == content
    assert {"slow down", "reset", "pass"} == set(faults.seen)


def test_writing_waits_them_out_too(bucket: str) -> None:
    plan = ["slow down", "reset", "pass"]
    with faulty(os.environ["AWS_ENDPOINT_URL"], lambda number: plan[number % len(plan)]) as faults:
        folder = open_folder(bucket, StorageOptions(endpoint=faults.endpoint))
        for number in range(3):
            with folder.creating(f"x/{number}") as path:
                path.write_bytes(b"content")
    assert [b"content"] * 3 == [open_folder(folder.location).read(f"x/{number}") for number in range(3)]
    assert {"slow down", "reset", "pass"} == set(faults.seen)


@pytest.mark.parametrize("what", ["slow down", "reset"])
def test_a_store_that_never_answers_is_given_up_after_a_bounded_number_of_attempts(
    numbered_uri: str, what: str
) -> None:
    broken = False
    with faulty(os.environ["AWS_ENDPOINT_URL"], lambda number: what if broken else "pass") as faults:
        options = StorageOptions(endpoint=faults.endpoint, max_attempts=2)
        data = ShardedData(numbered_uri, cache_megabytes=0).build(options)
        broken, before = True, len(faults.seen)
        with pytest.raises(DataError, match=r"train/part-0000\d\.parquet: unreadable shard") as caught:
            list(data.batches("train", 33))
        with pytest.raises(DataError, match=r"/descriptor\.json: cannot be read"):
            ShardedData(numbered_uri).build(options)
    assert 1 == len(str(caught.value).splitlines())
    assert what in faults.seen[before:]
    assert len(faults.seen) - before < 20
