"""`prepare`: a source becomes Parquet shards with a descriptor, written by Spark.

The driver reads the source into memory (`sources.base.MAX_BYTES` bounds it), decides the splits and the global order,
and stages each shard's rows as an Arrow file in `OUTPUT/.staging`; one Spark task a shard turns it into Parquet. So the
output must be an object store or a folder that driver and executors share (which the training needs anyway), and no
data travel in a closure or through the JVM. `descriptor.json` is written last: until then the folder is not a data set,
and an interrupted run is simply run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np
import pyarrow.fs  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spark_nas.data.descriptor import FILE_NAME, Descriptor, ShardFile, Split
from spark_nas.data.folder import DataFolder, files_below, open_folder, reason
from spark_nas.data.shards import RESULT_SCHEMA, STAGING, ShardPlan, plan_shards, stage, write_shards
from spark_nas.data.sources.base import SPLITS, Arrays, Raw, Source
from spark_nas.data.splitting import SplitPlan, plan_splits
from spark_nas.data.text_descriptor import VOCABULARY, TextDescriptor
from spark_nas.errors import DataError, JobError, OutputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

SHARDS = 4
"""Files of each split where nothing else is said."""
SEED = 1
VALID_FRACTION = 0.1
TEST_FRACTION = 0.2
_PROBE = ".descriptor.probe.tmp"
_CHUNK = 4096
"""Rows copied at a time where the whole split would be copied otherwise."""
D = TypeVar("D", Descriptor, TextDescriptor)


@dataclass(frozen=True)
class Planned(Generic[D]):
    """A data set of which everything is decided and nothing is written."""

    splits: SplitPlan
    """The rows of every split."""
    shards: int
    """Files of each split, at most the rows of the smallest."""
    descriptor: D
    """Whole, but for the files of its splits."""
    beside: Mapping[str, str] = field(default_factory=dict)
    """Texts of further files by their names, which the descriptor speaks of."""


def prepare(
    spark: SparkSession,
    source: Source,
    output: str | Path | DataFolder,
    *,
    shards: int = SHARDS,
    seed: int = SEED,
    valid_fraction: float = VALID_FRACTION,
    test_fraction: float = TEST_FRACTION,
    name: str | None = None,
    overwrite: bool = False,
) -> Descriptor:
    """Write a data set and return its descriptor.

    Args:
        spark: runs one task for each shard.
        source: what to read, see `sources.open_source`.
        output: folder shared by driver and executors, made if missing; or a URI such as s3://BUCKET/PREFIX.
        shards: files of each split, and so the most readers (or workers) that may share a split.
        seed: of the splits and of the global shuffle.
        valid_fraction: share of the source's training rows for `valid`, when the source has no such split.
        test_fraction: the same for `test`.
        name: of the data set; None takes the source's.
        overwrite: replace a data set that is there. Files that are not a data set's are never removed.

    Raises:
        DataError: the source is unusable, or has too few rows for the shards; nothing is written.
        OutputError: the output holds a data set already, or something else, or cannot be written.
        JobError: Spark lost a task.
    """
    folder = open_folder(output)
    check_output(folder, overwrite)
    fractions = {"valid_fraction": valid_fraction, "test_fraction": test_fraction}
    return fill(spark, folder, plan_examples(source, shards=shards, seed=seed, name=name, **fractions))


def plan_examples(
    source: Source, *, shards: int, seed: int, valid_fraction: float, test_fraction: float, name: str | None
) -> Planned[Descriptor]:
    """Read the source and decide everything, as `prepare` says; no Spark is needed. Raises DataError."""
    if shards < 1:
        raise DataError(f"shards: {shards}: must be at least 1")
    raw = source.read()
    splits = plan_splits(raw, seed, valid_fraction, test_fraction)
    for split, (_, rows) in splits.splits.items():
        if len(rows) < shards:
            raise DataError(
                f"{raw.where}: split {split!r} has {len(rows)} rows for {shards} shards; ask for fewer shards"
            )
    return Planned(splits, shards, _describe(raw, splits, name or raw.name, seed))


def fill(spark: SparkSession, folder: DataFolder, planned: Planned[D]) -> D:
    """Stage, let Spark write, and publish what was written; returns the descriptor.

    Args:
        spark: runs one task for each shard.
        folder: that `check_output` has looked at.
        planned: what to write.

    Raises:
        OutputError: the output cannot be written.
        JobError: Spark lost a task.
    """
    try:
        _clear(folder)
        plans = _stage_all(folder, planned.splits, planned.shards, planned.descriptor.example_bytes)
        complete = replace(planned.descriptor, splits=_by_split(plans, _run(spark, plans)))
        for name, text in {**planned.beside, FILE_NAME: complete.to_json()}.items():  # the descriptor last
            with folder.creating(name) as path:
                path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"{folder.location}: cannot be written ({reason(error)}); free space or give another folder"
        ) from error
    finally:
        with suppress(OSError):
            folder.remove_all(STAGING)
    return complete


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
        created_by=created_by(),
    )


def created_by() -> str:
    """The name and version of this release."""
    try:
        return f"spark_nas {version('spark_nas')}"
    except PackageNotFoundError:  # run from the source tree, or from a zip on the path
        return "spark_nas (source tree)"


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


def check_output(folder: DataFolder, overwrite: bool) -> None:
    """Refuse to touch what is not ours, before any work. Raises OutputError."""
    where = folder.location
    try:
        if Path(where).is_file():
            raise OutputError(f"{where}: is a file; give a folder")
        entries = files_below(folder, recursive=False)
        if FILE_NAME in {entry.base_name for entry in entries} and not overwrite:
            raise OutputError(f"{where}: holds a data set already; give another folder or --overwrite")
        for entry in entries:
            if not _ours(folder, entry):
                raise OutputError(
                    f"{where}: holds {entry.base_name}, which is no part of a data set; give an empty folder"
                )
        with folder.creating(_PROBE) as path:
            path.write_bytes(b"")
        folder.remove(_PROBE)
    except OSError as error:
        raise OutputError(f"{where}: cannot be written ({reason(error)}); give a folder you may write to") from error


def _ours(folder: DataFolder, entry: pyarrow.fs.FileInfo) -> bool:
    name = entry.base_name
    if name in (FILE_NAME, VOCABULARY, STAGING) or (name.startswith(".descriptor.") and name.endswith(".tmp")):
        return True
    is_split = name in SPLITS and entry.type == pyarrow.fs.FileType.Directory
    return is_split and all(map(_shard_like, files_below(folder, name, recursive=False)))


def _shard_like(entry: pyarrow.fs.FileInfo) -> bool:
    return entry.is_file and entry.base_name.startswith(("part-", ".part-")) and entry.extension in ("parquet", "tmp")


def _clear(folder: DataFolder) -> None:
    """Remove an older or interrupted data set, its descriptor first, so that half of one never looks whole."""
    folder.remove(FILE_NAME)
    folder.remove(VOCABULARY)
    for name in (*SPLITS, STAGING):
        folder.remove_all(name)


def _stage_all(folder: DataFolder, splits: SplitPlan, shards: int, example_bytes: int) -> tuple[ShardPlan, ...]:
    """Put the rows of every shard where its task finds them."""
    plans: list[ShardPlan] = []
    for split, (arrays, rows) in splits.splits.items():
        of_split = plan_shards(folder, split, len(rows), shards, example_bytes)
        for plan in of_split:
            chosen = rows[plan.start : plan.stop]
            stage(plan, arrays.x[chosen], arrays.y[chosen])
        plans += of_split
    return tuple(plans)


def _run(spark: SparkSession, plans: tuple[ShardPlan, ...]) -> list[ShardFile]:
    """One Spark job, one task a shard; checks that every shard reports all its rows."""
    task = partial(write_shards, plans=plans)
    try:
        rows = spark.range(0, len(plans), 1, len(plans)).mapInArrow(task, RESULT_SCHEMA).collect()
    except Exception as error:  # whatever Spark, py4j or gRPC raise: not ours to name here
        where = plans[0].folder.location
        raise JobError(f"{where}: Spark could not run the tasks that write shards ({reason(error)})") from error
    found = {row["shard"]: row for row in rows}
    for number, plan in enumerate(plans):
        row = found.get(number)
        if row is not None and row["error"]:
            raise OutputError(row["error"])
        if row is None or row["rows"] != plan.stop - plan.start:
            raise DataError(f"{plan.folder.location}/{plan.name}: was not written in full; run prepare-data again")
    rows_of = (found[number] for number in range(len(plans)))
    return [
        ShardFile(plan.name, row["rows"], tuple(map(int, row["row_groups"].split(","))), row["bytes"])
        for plan, row in zip(plans, rows_of, strict=True)
    ]


def _by_split(plans: tuple[ShardPlan, ...], files: list[ShardFile]) -> dict[str, Split]:
    """What was written, as the descriptor says it."""
    of_split: dict[str, list[ShardFile]] = {}
    for plan, file in zip(plans, files, strict=True):
        of_split.setdefault(plan.split, []).append(file)
    return {split: Split(sum(file.rows for file in files), tuple(files)) for split, files in of_split.items()}
