"""Every kind of source, prepared by Spark and read back by our reader, Spark, pandas and plain petastorm."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from spark_nas.data.dataset import ShardedData
from spark_nas.data.petastorm_compat import install
from spark_nas.data.prepare import prepare
from spark_nas.data.sources import Raw, open_source
from spark_nas.errors import OutputError
from tests.data.conftest import local_filesystem
from tests.data.source_files import images, labels, write_cifar10, write_image_folder, write_mnist

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
GREY, COLOUR = images(120, 1), images(120, 2, channels=3, edge=32)


def npz(at: Path) -> Path:
    np.savez(at / "a.npz", x=np.random.default_rng(1).normal(size=(120, 5)), y=labels(120, 3))
    return at / "a.npz"


def split_folders(at: Path) -> Path:
    write_image_folder(at / "set" / "train", COLOUR[:100], ["a", "b"])
    write_image_folder(at / "set" / "test", COLOUR[100:], ["a", "b"])
    return at / "set"


SOURCES: dict[str, Callable[[Path], Path]] = {
    "idx": lambda at: write_mnist(at / "mnist", GREY[:100, 0], GREY[100:, 0], ".gz"),
    "cifar": lambda at: write_cifar10(at / "cifar-10-binary.tar.gz", COLOUR[:100], COLOUR[100:]),
    "folder": lambda at: write_image_folder(at / "birds", GREY, ["owl", "crow"]),
    "split folders": split_folders,
    "npz": npz,
}


def rows(x: np.ndarray, y: np.ndarray) -> list[tuple[bytes, int]]:
    return sorted((example.tobytes(), int(label)) for example, label in zip(x, y, strict=True))


def read_back(folder: Path, split: str, cache_megabytes: int) -> list[tuple[bytes, int]]:
    batches = ShardedData(str(folder), cache_megabytes).build().batches(split, 16, seed=1)
    return [row for x, y in batches for row in rows(x, y)]


def of_source(raw: Raw, kept: set[str]) -> list[tuple[bytes, int]]:
    """What splits carved from the source's train must hold together."""
    parts = [arrays for split, arrays in raw.splits.items() if split not in kept]
    return sorted(row for part in parts for row in rows(part.x, part.y))


def check(spark: SparkSession, spec: str, folder: Path) -> None:
    raw = open_source(spec).read()
    prepare(spark, open_source(spec), folder, shards=2)
    kept = set(raw.splits) - {"train"}
    for cache_megabytes in (0, 64):
        for split in kept:
            arrays = raw.splits[split]
            assert rows(arrays.x, arrays.y) == sorted(read_back(folder, split, cache_megabytes))
        carved = [row for s in {"train", "valid", "test"} - kept for row in read_back(folder, s, cache_megabytes)]
        assert of_source(raw, kept) == sorted(carved)


@pytest.mark.parametrize("kind", list(SOURCES))
def test_all_that_a_source_holds_is_read_back(spark: SparkSession, tmp_path: Path, kind: str) -> None:
    check(spark, str(SOURCES[kind](tmp_path)), tmp_path / "out")


@pytest.mark.parametrize("name", ["cifar10_full_jpeg", "cifar100_lossless_3000_800"])
def test_all_that_a_parquet_of_images_holds_is_read_back(
    spark: SparkSession, shared_data: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    table = pq.read_table(shared_data(f"images/{name}.parquet"))
    few = [table.filter(pc.equal(table["split"], split)).slice(0, 400) for split in ("train", "test")]
    few = [part.filter(pc.less(part["label"], 10)) for part in few]
    pq.write_table(pa.concat_tables(few), tmp_path / f"{name}.parquet")
    check(spark, str(tmp_path / f"{name}.parquet"), tmp_path / "out")


def test_spark_pandas_and_plain_petastorm_read_the_same_rows(spark: SparkSession, digits_folder: Path) -> None:
    ours = sorted(read_back(digits_folder, "valid", 64))
    by_spark = sorted((bytes(row.x), row.y) for row in spark.read.parquet(str(digits_folder / "valid")).collect())
    by_pandas = pd.read_parquet(digits_folder / "valid")
    install()
    from petastorm import make_batch_reader

    names = sorted(f"valid/{path.name}" for path in (digits_folder / "valid").iterdir())
    urls = [f"file:///{name}" for name in names]
    with make_batch_reader(urls, filesystem=local_filesystem(digits_folder), workers_count=2) as reader:
        by_petastorm = sorted(row for batch in reader for row in zip(batch.x, batch.y.tolist(), strict=True))
    assert 180 == len(ours)
    assert ours == by_spark
    assert ours == sorted(zip(by_pandas.x, by_pandas.y, strict=True))
    assert ours == by_petastorm


def test_no_metadata_file_is_written(digits_folder: Path) -> None:
    assert [] == [path.name for path in digits_folder.rglob("*") if path.name.startswith(("_", "."))]


@pytest.mark.one_spark
def test_the_fingerprint_follows_the_content_and_the_seed_alone(spark: SparkSession, tmp_path: Path) -> None:
    source = open_source(str(npz(tmp_path)))
    fingerprints = [
        prepare(spark, source, tmp_path / f"{shards}-{seed}", shards=shards, seed=seed).fingerprint
        for shards, seed in ((1, 1), (5, 1), (1, 2))
    ]
    assert fingerprints[0] == fingerprints[1]
    assert fingerprints[0] != fingerprints[2]


def test_a_full_disk_is_an_error_in_one_line_and_leaves_no_data_set(spark: SparkSession, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    source = open_source(str(npz(tmp_path)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))  # no file may grow beyond 1 KiB
    try:
        with pytest.raises(OutputError, match=r"out: cannot be written \(.*\); free space") as caught:
            prepare(spark, source, tmp_path / "out", shards=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert 1 == len(str(caught.value).splitlines())
    assert [] == list((tmp_path / "out").iterdir())


def test_the_splits_and_their_seed_are_recorded(spark: SparkSession, tmp_path: Path) -> None:
    descriptor = prepare(spark, open_source(str(split_folders(tmp_path))), tmp_path / "out", shards=1, seed=9)
    assert 9 == descriptor.split_seed
    assert (
        "test: the source's own; valid: 10 rows of the source's train (0.1), stratified by class, seed 9; "
        "train: the rest; each split shuffled globally by the same seed"
    ) == descriptor.split_rule
    assert str(tmp_path) not in descriptor.to_json()
