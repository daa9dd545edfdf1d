"""A disk that fills while Spark's tasks write shards: one line that says so, and no data set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest

from spark_nas.data import prepare as module
from spark_nas.data.prepare import prepare
from spark_nas.errors import OutputError

from .conftest import InMemory, make_raw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.one_spark]
LIMIT = 20_000


def test_a_file_that_may_not_grow_is_said_in_one_line_with_its_name(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel refuses to let a worker's files grow: the same path through pyarrow as that of a full disk."""
    original = module.write_shards

    @wraps(original)
    def limited(batches: Iterator[pa.RecordBatch], **plans: object) -> Iterator[pa.RecordBatch]:
        import resource

        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, limits[1]))
        try:
            reports = list(original(batches, **plans))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        yield from reports

    monkeypatch.setattr(module, "write_shards", limited)
    output = tmp_path / "d"
    with pytest.raises(OutputError, match=r"cannot be written on .*File too large") as caught:
        prepare(spark, InMemory(make_raw(6000)), output, shards=2)
    assert str(caught.value).startswith(f"{output}/train/part-0000")
    assert 1 == len(str(caught.value).splitlines())
    assert [] == [path.name for path in output.rglob("*") if path.is_file()]
    monkeypatch.undo()
    assert 6000 == sum(split.rows for split in prepare(spark, InMemory(make_raw(6000)), output).splits.values())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 2.5 MB: rows that are staged fit, their shards do not."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.exhaustive  # a process and a JVM of its own, for what is shown above of the kernel's refusal
def test_the_command_says_in_one_line_that_a_disk_is_full(small_disk: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(1).integers(0, 256, (600, 3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", x=images, y=np.arange(600) % 3)
    command = [sys.executable, "-m", "spark_nas.cli", "prepare-data", str(tmp_path / "images.npz"), "--shards", "2"]
    command += ["--output", str(small_disk / "d"), "--master", "local[2]"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    said = [line for line in done.stderr.splitlines() if "No space left on device" in line]
    assert 1 == len(said), done.stderr
    assert said[0].startswith(f"spark-nas prepare-data: {small_disk}/d/")
    assert "cannot be written on" in said[0]
    assert not [word for word in ("Traceback", "Caused by", "at org.apache") if word in done.stderr]
    left = {path.relative_to(small_disk / "d").parts[0] for path in small_disk.rglob("*") if path.is_file()}
    assert left <= {"train", "valid", "test"}  # a shard may have fitted; without a descriptor it is no data set
