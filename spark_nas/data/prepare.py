"""`prepare`: a source becomes Parquet shards with a descriptor, written by Spark.

The driver reads the source into memory (`sources.base.MAX_BYTES` bounds it), decides the splits and the global order,
and stages each shard's rows as an Arrow file in `OUTPUT/.staging`; one Spark task a shard turns it into Parquet. So the
output folder must be one that driver and executors share (which the training needs anyway), and no data travel in a
closure or through the JVM. `descriptor.json` is written last: until then the folder is not a data set, and an
interrupted run is simply run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.descriptor import FILE_NAME, Descriptor, ShardFile, Split
from spark_nas.data.shards import RESULT_SCHEMA, ShardPlan, plan_shards, stage, write_shards
from spark_nas.data.sources.base import SPLITS, Arrays, Raw, Source
from spark_nas.data.splitting import SplitPlan, plan_splits
from spark_nas.errors import DataError, OutputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STAGING = ".staging"
_CHUNK = 4096
"""Rows copied at a time where the whole split would be copied otherwise."""


def prepare(
    spark: SparkSession,
    source: Source,
    output: str | Path,
    *,
    shards: int = 8,
    seed: int = 1,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    name: str | None = None,
    overwrite: bool = False,
) -> Descriptor:
    """Write a data set and return its descriptor.

    Args:
        spark: runs one task for each shard.
        source: what to read, see `sources.open_source`.
        output: folder shared by driver and executors; made if missing.
        shards: files of each split, and so the most readers (or workers) that may share a split.
        seed: of the splits and of the global shuffle.
        valid_fraction: share of the source's training rows for `valid`, when the source has no such split.
        test_fraction: the same for `test`.
        name: of the data set; None takes the source's.
        overwrite: replace a data set that is there. Files that are not a data set's are never removed.

    Raises:
        DataError: the source is unusable, or has too few rows for the shards; nothing is written.
        OutputError: the output holds a data set already, or something else, or cannot be written.
    """
    output = Path(output).absolute()
    check_output(output, overwrite)
    raw = source.read()
    splits = plan_splits(raw, seed, valid_fraction, test_fraction)
    _check_rows(raw, splits, shards)
    descriptor = _describe(raw, splits, name or raw.name, seed)
    _clear(output)
    complete = replace(descriptor, splits=_write(spark, output, splits, shards, descriptor.example_bytes))
    _publish(output, complete)
    return complete


def _publish(output: Path, descriptor: Descriptor) -> None:
    """Write `descriptor.json`, atomically."""
    temporary = output / f".{FILE_NAME}.tmp"
    temporary.write_text(descriptor.to_json(), encoding="utf-8")
    os.replace(temporary, output / FILE_NAME)


def _check_rows(raw: Raw, splits: SplitPlan, shards: int) -> None:
    if shards < 1:
        raise DataError(f"shards: {shards}: must be at least 1")
    for split, (_, rows) in splits.splits.items():
        if len(rows) < shards:
            raise DataError(
                f"{raw.where}: split {split!r} has {len(rows)} rows for {shards} shards; ask for fewer shards"
            )


def _describe(raw: Raw, splits: SplitPlan, name: str, seed: int) -> Descriptor:
    """All that is known before anything is written: everything but the files."""
    mean, std = moments(*splits.splits["train"])
    x = raw.splits["train"].x
    return Descriptor(
        name=name,
        input_shape=tuple(x.shape[1:]),
        dtype=x.dtype.name,
        classes=raw.classes,
        splits={},
        mean=mean,
        std=std,
        split_seed=seed,
        split_rule=splits.rule,
        source=raw.description,
        fingerprint=_fingerprint(splits, raw.classes),
        created_by=f"spark_nas {_version()}",
    )


def _version() -> str:
    try:
        return version("spark_nas")
    except PackageNotFoundError:  # run from the source tree, or from a zip on the path
        return "(source tree)"


def moments(arrays: Arrays, rows: NDArray[np.int64]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel (first axis of an example) of `rows`, in stored units.

    Two passes in float64; a constant channel gets the deviation 1.0, so that dividing by it is safe. Computed over the
    rows in the source's order, so the last bit does not depend on the shuffle.
    """
    ordered = np.sort(rows)
    channels = arrays.x.shape[1]
    count = arrays.x[0].size // channels * len(rows)
    mean = sum((chunk.sum(axis=(0, 2)) for chunk in _float_chunks(arrays.x, ordered)), np.zeros(channels)) / count
    squares = np.zeros(channels)
    for chunk in _float_chunks(arrays.x, ordered):
        squares += np.square(chunk - mean[:, None]).sum(axis=(0, 2))
    std = np.sqrt(squares / count)
    return tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist())


def _float_chunks(x: NDArray[np.generic], rows: NDArray[np.int64]) -> Iterator[NDArray[np.float64]]:
    for chunk in _chunks(rows):
        yield x[chunk].reshape(len(chunk), x.shape[1], -1).astype(np.float64)


def _chunks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def _fingerprint(plan: SplitPlan, classes: tuple[str, ...]) -> str:
    """sha256 over types, shapes, classes and the rows of each split in stored order."""
    digest = hashlib.sha256()
    for split, (arrays, rows) in plan.splits.items():
        head = [split, len(rows), arrays.x.dtype.name, list(arrays.x.shape[1:]), list(classes)]
        digest.update(json.dumps(head).encode() + b"\n")
        for chunk in _chunks(rows):
            digest.update(np.ascontiguousarray(arrays.x[chunk], arrays.x.dtype.newbyteorder("<")).tobytes())
        digest.update(arrays.y[rows].astype("<i8").tobytes())
    return f"sha256:{digest.hexdigest()}"


def check_output(output: Path, overwrite: bool) -> None:
    """Refuse to touch what is not ours, before any work. Raises OutputError."""
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output}: is a file; give a folder")
    if (output / FILE_NAME).exists() and not overwrite:
        raise OutputError(f"{output}: holds a data set already; give another folder or --overwrite")
    foreign = [path for path in (output.iterdir() if output.is_dir() else ()) if not _ours(path)]
    if foreign:
        raise OutputError(f"{output}: holds {foreign[0].name}, which is no part of a data set; give an empty folder")
    staging = output / STAGING
    try:
        staging.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror}); give a folder you may write to") from None
    with suppress(OSError):  # what an interrupted run has staged goes when this one is sure of its source
        staging.rmdir()


def _ours(path: Path) -> bool:
    if path.name in (FILE_NAME, f".{FILE_NAME}.tmp", STAGING):
        return True
    return path.name in SPLITS and path.is_dir() and all(_shard_like(file) for file in path.iterdir())


def _shard_like(file: Path) -> bool:
    return file.is_file() and file.name.startswith(("part-", ".part-")) and file.suffix in (".parquet", ".tmp")


def _clear(output: Path) -> None:
    """Remove an older or interrupted data set, its descriptor first, so that half of one never looks whole."""
    (output / FILE_NAME).unlink(missing_ok=True)
    for folder in (*SPLITS, STAGING):
        shutil.rmtree(output / folder, ignore_errors=True)


def _write(spark: SparkSession, output: Path, splits: SplitPlan, shards: int, example_bytes: int) -> dict[str, Split]:
    """Stage, let Spark write, and collect what was written."""
    staging = output / STAGING
    try:
        plans = _stage_all(output, staging, splits, shards, example_bytes)
        files = _run(spark, plans)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    by_split = {
        split: tuple(f for p, f in zip(plans, files, strict=True) if p.split == split) for split in splits.splits
    }
    return {split: Split(sum(file.rows for file in of_split), of_split) for split, of_split in by_split.items()}


def _stage_all(
    output: Path, staging: Path, splits: SplitPlan, shards: int, example_bytes: int
) -> tuple[ShardPlan, ...]:
    """Put the rows of every shard where its task finds them. Raises OutputError when there is no room for them."""
    plans: list[ShardPlan] = []
    try:
        staging.mkdir(parents=True)
        for split, (arrays, rows) in splits.splits.items():
            of_split = plan_shards(output, staging, split, len(rows), shards, example_bytes)
            for plan in of_split:
                chosen = rows[plan.start : plan.stop]
                stage(plan, arrays.x[chosen], arrays.y[chosen])
            plans += of_split
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error}); free space or give another folder") from None
    return tuple(plans)


def _run(spark: SparkSession, plans: tuple[ShardPlan, ...]) -> list[ShardFile]:
    """One Spark job, one task a shard; checks that every shard reports all its rows. Raises DataError otherwise."""
    task = partial(write_shards, plans=plans)
    rows = spark.range(0, len(plans), 1, len(plans)).mapInArrow(task, RESULT_SCHEMA).collect()
    found = {
        row["shard"]: ShardFile(
            plans[row["shard"]].name, row["rows"], tuple(map(int, row["row_groups"].split(","))), row["bytes"]
        )
        for row in rows
    }
    for number, plan in enumerate(plans):
        if number not in found or found[number].rows != plan.stop - plan.start:
            raise DataError(f"{plan.target}: was not written in full; run prepare-data again")
    return [found[number] for number in range(len(plans))]
