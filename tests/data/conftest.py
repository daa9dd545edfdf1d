"""Prepared data sets that the tests of this folder read; each is written once, by the real Spark."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.fs
import pytest
from numpy.typing import NDArray

from spark_nas.data import shards as shards_module
from spark_nas.data.cache import DECODED
from spark_nas.data.folder import open_folder
from spark_nas.data.prepare import prepare
from spark_nas.data.sources import Arrays, Digits, Npz, Raw
from tests.s3_endpoint import S3

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ROWS, SHAPE, CLASSES = 1000, (2, 3), 5
GROUP_ROWS = 40


def numbered(first: int, rows: int) -> NDArray[np.float32]:
    """Examples of which each says its own number."""
    return np.arange(first * 6, (first + rows) * 6, dtype=np.float32).reshape(rows, *SHAPE)


def local_filesystem(folder: Path) -> pyarrow.fs.FileSystem:
    """A local data set as the reader takes it."""
    return open_folder(folder).filesystem()


@pytest.fixture
def bucket(s3: S3) -> str:
    """A prefix of its own in the bucket of a real S3 endpoint, which the environment names."""
    return s3.prefix()


@pytest.fixture(autouse=True)
def _empty_cache() -> Iterator[None]:
    """No test finds what another has decoded."""
    DECODED.clear()
    yield
    DECODED.clear()


@pytest.fixture(scope="session")
def digits_folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits in 4 shards a split; one row group a file. Not to be changed."""
    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(spark, Digits(), folder, shards=4)
    return folder


@pytest.fixture(scope="session")
def numbered_folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1000 examples of 5 classes that say their own number, in 3 shards and small row groups. Not to be changed."""
    folder = tmp_path_factory.mktemp("data") / "numbered"
    file = folder.with_suffix(".npz")
    np.savez(file, x=numbered(0, ROWS), y=np.arange(ROWS) % CLASSES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "ROW_GROUP_BYTES", GROUP_ROWS * 24)
        prepare(spark, Npz(str(file)), folder, shards=3)
    return folder


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """`copy_of(folder)` is a copy that the test may damage."""

    def copy(folder: Path) -> Path:
        return Path(shutil.copytree(folder, tmp_path / "copy"))

    return copy


@dataclass(frozen=True)
class InMemory:
    """A source that is arrays already."""

    raw: Raw

    def read(self) -> Raw:
        return self.raw


def make_raw(rows: int = 600, shape: tuple[int, ...] = (3, 5, 4)) -> Raw:
    """Random bytes of three classes."""
    x = np.random.default_rng(7).integers(0, 200, (rows, *shape)).astype(np.uint8)
    arrays = Arrays(x, np.arange(rows, dtype=np.int64) % 3)
    return Raw("random", "random.npz", "random numbers", ("a", "b", "c"), {"train": arrays})


@pytest.fixture(scope="session")
def many_groups(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows in 12 shards, so that a shuffle window smaller than the set can be chosen. Not to be changed."""
    output = tmp_path_factory.mktemp("many") / "data"
    prepare(spark, InMemory(make_raw()), output, shards=12)
    return output
