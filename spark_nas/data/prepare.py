"""`prepare`: a source becomes Parquet shards with a descriptor, written by Spark.

The driver reads the source into memory (`sources.base.MAX_BYTES` bounds it), decides the splits and the global order, and
stages each shard's rows as an Arrow file in `OUTPUT/.staging`; one Spark task a shard turns it into Parquet. So the output
folder must be one that driver and executors share (which the training needs anyway), and no data travel in a closure or
through the JVM. `descriptor.json` is written last: until then the folder is not a data set, and an interrupted run is simply
run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import spark_nas
from spark_nas.data.descriptor import FILE_NAME, Descriptor, ShardFile, Split
from spark_nas.data.shards import RESULT_SCHEMA, ShardPlan, plan_shards, stage, write_shards
from spark_nas.data.sources import Arrays, Source
from spark_nas.data.splitting import SplitPlan, plan_splits
from spark_nas.errors import DataError, OutputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    Rows = tuple[Arrays, NDArray[np.int64]]

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
    if shards < 1:
        raise DataError(f"shards: {shards}: must be at least 1")
    output = Path(output).absolute()
    _check_output(output, overwrite)
    raw = source.read()
    splits = plan_splits(raw, seed, valid_fraction, test_fraction)
    for split, (_, rows) in splits.splits.items():
        if len(rows) < shards:
            raise DataError(f"{raw.where}: split {split!r} has {len(rows)} rows for {shards} shards; ask for fewer shards")
    mean, std = moments(*splits.splits["train"])
    x = raw.splits["train"].x
    descriptor = Descriptor(
        name=name or raw.name,
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
        created_by=f"spark_nas {spark_nas.__version__}",
    )
    _clear(output)
    written = _write(spark, output, splits, shards, descriptor.example_bytes)
    complete = Descriptor(**{**vars_of(descriptor), "splits": written})
    temporary = output / f".{FILE_NAME}.tmp"
    temporary.write_text(complete.to_json(), encoding="utf-8")
    os.replace(temporary, output / FILE_NAME)
    return complete
