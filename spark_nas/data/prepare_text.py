"""`prepare_text`: a text becomes shards of tokens, written by Spark as `prepare` writes those of examples.

The vocabulary is that of the training split alone: what only the other splits hold is `<unk>`, as it will be of any
text to come. Token 0 is `<unk>`, whether the training text has it or not; the others follow by how often they come
there, and those that come equally often in the order in which they first come.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.folder import DataFolder, open_folder
from spark_nas.data.prepare import SHARDS, TEST_FRACTION, VALID_FRACTION, Planned, check_output, created_by, fill
from spark_nas.data.sources.base import SPLITS, Arrays
from spark_nas.data.sources.text import RawText, Text
from spark_nas.data.splitting import SplitPlan
from spark_nas.data.text_descriptor import UNKNOWN, VOCABULARY, TextDescriptor, vocabulary_digest, vocabulary_json
from spark_nas.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CHUNK = 1024
"""Most tokens of a row."""
Streams = Mapping[str, NDArray[np.int32]]
"""The tokens of each split."""


class Encoded(NamedTuple):
    """A text in the numbers of its vocabulary."""

    vocabulary: tuple[str, ...]
    streams: Streams


def prepare_text(
    spark: SparkSession,
    source: Text,
    output: str | Path | DataFolder,
    *,
    shards: int = SHARDS,
    vocabulary: int | None = None,
    valid_fraction: float = VALID_FRACTION,
    test_fraction: float = TEST_FRACTION,
    name: str | None = None,
    overwrite: bool = False,
) -> TextDescriptor:
    """Write a text and return its descriptor.

    Args:
        spark: runs one task for each shard.
        source: what to read.
        output: folder shared by driver and executors, made if missing; or a URI such as s3://BUCKET/PREFIX.
        shards: files of each split.
        vocabulary: most tokens in the vocabulary, `<unk>` included; None takes all of the training text.
        valid_fraction: share of the source's training tokens for `valid`, when the source has no such split.
        test_fraction: the same for `test`.
        name: of the data set; None takes the source's.
        overwrite: replace a data set that is there. Files that are not a data set's are never removed.

    Raises:
        DataError: the source is unusable, or has too few tokens for the shards; nothing is written.
        OutputError: the output holds a data set already, or something else, or cannot be written.
        JobError: Spark lost a task.
    """
    check_vocabulary(vocabulary)
    folder = open_folder(output)
    check_output(folder, overwrite)
    fractions = {"valid_fraction": valid_fraction, "test_fraction": test_fraction}
    return fill(spark, folder, plan_text(source, shards=shards, vocabulary=vocabulary, name=name, **fractions))


def plan_text(
    source: Text,
    *,
    shards: int,
    vocabulary: int | None,
    valid_fraction: float,
    test_fraction: float,
    name: str | None,
) -> Planned[TextDescriptor]:
    """Read the text and decide everything, as `prepare_text` says; no Spark is needed. Raises DataError."""
    if shards < 1:
        raise DataError(f"shards: {shards}: must be at least 1")
    raw = source.read()
    streams, rule = split_streams(raw, valid_fraction, test_fraction)
    chunk = _chunk(raw, streams, shards)
    encoded = encode(raw, streams, vocabulary)
    vocabulary_file = vocabulary_json(encoded.vocabulary)
    descriptor = _describe(raw, encoded, name or raw.name, rule, chunk, vocabulary_digest(vocabulary_file))
    return Planned(_plan(encoded.streams, chunk), shards, descriptor, {VOCABULARY: vocabulary_file})


def _chunk(raw: RawText, streams: Streams, shards: int) -> int:
    """Tokens of a row, so few that each shard gets a row."""
    for split, stream in streams.items():
        if len(stream) < shards:
            raise DataError(f"{raw.where}: split {split!r} has {len(stream)} tokens for {shards} shards; ask for fewer")
    return min(CHUNK, *(len(stream) // shards for stream in streams.values()))


def _describe(raw: RawText, encoded: Encoded, name: str, rule: str, chunk: int, vocabulary: str) -> TextDescriptor:
    """All that is known before anything is written: everything but the files."""
    return TextDescriptor(
        name=name,
        level=raw.level,
        vocabulary=len(encoded.vocabulary),
        vocabulary_sha256=vocabulary,
        chunk=chunk,
        tokens={split: len(stream) for split, stream in encoded.streams.items()},
        unknown={split: int((stream == 0).sum()) for split, stream in encoded.streams.items()},
        splits={},
        split_rule=rule,
        source=raw.description,
        fingerprint=_fingerprint(raw.level, encoded),
        created_by=created_by(),
    )


def check_vocabulary(most: int | None) -> None:
    """Refuse a size that no vocabulary can have. Raises DataError."""
    if most is not None and most < 2:
        raise DataError(f"vocabulary {most}: must be at least 2: {UNKNOWN} and the most frequent token")


def split_streams(raw: RawText, valid_fraction: float, test_fraction: float) -> tuple[Streams, str]:
    """The splits, and in words where each comes from: a missing one is cut off the end of the training text, whole.

    The text stays in order: what is left of train, then valid, then test. Raises DataError for a fraction that is out
    of range or leaves a split without tokens.
    """
    train = raw.splits["train"]
    stop = len(train)
    streams, rules = {}, {}
    for split, fraction in (("test", test_fraction), ("valid", valid_fraction)):
        if split in raw.splits:
            streams[split], rules[split] = raw.splits[split], "the source's own"
            continue
        count = round(fraction * len(train)) if math.isfinite(fraction) else 0
        if not 0 < fraction < 1 or not 0 < count < stop:
            raise DataError(
                f"{raw.where}: split {split!r} would get {fraction:g} of {len(train)} tokens, of which {stop} are "
                "left; choose another fraction"
            )
        streams[split] = train[stop - count : stop]
        rules[split] = f"tokens {stop - count} to {stop} of the source's train ({fraction:g})"
        stop -= count
    streams["train"], rules["train"] = train[:stop], "the source's own" if stop == len(train) else "all before"
    return {split: streams[split] for split in SPLITS}, "; ".join(f"{split}: {rules[split]}" for split in SPLITS)


def encode(raw: RawText, streams: Streams, limit: int | None) -> Encoded:
    """Choose the vocabulary, at most `limit` tokens, and number the tokens by it."""
    counts = np.bincount(streams["train"], minlength=len(raw.kinds))
    if np.count_nonzero(counts) < 2:
        raise DataError(f"{raw.where}: the training text has only one kind of token; give a longer text")
    by_frequency = np.argsort(-counts, kind="stable")
    kept = [kind for kind in by_frequency.tolist() if counts[kind] and raw.kinds[kind] != UNKNOWN]
    kept = kept if limit is None else kept[: limit - 1]
    numbers = np.zeros(len(raw.kinds), np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    vocabulary = (UNKNOWN, *(raw.kinds[kind] for kind in kept))
    return Encoded(vocabulary, {split: numbers[stream] for split, stream in streams.items()})


def _plan(streams: Streams, chunk: int) -> SplitPlan:
    """The streams cut into rows, in order."""
    splits = {}
    for split, stream in streams.items():
        rows = math.ceil(len(stream) / chunk)
        x_NC = np.zeros((rows, chunk), np.int32)
        x_NC.reshape(-1)[: len(stream)] = stream
        counts = np.full(rows, chunk, np.int64)
        counts[-1] = len(stream) - (rows - 1) * chunk
        splits[split] = (Arrays(x_NC, counts), np.arange(rows))
    return SplitPlan(splits, "")


def _fingerprint(level: str, encoded: Encoded) -> str:
    """sha256 over level, vocabulary and the tokens of each split."""
    digest = hashlib.sha256(json.dumps([level, encoded.vocabulary]).encode())
    for split, stream in encoded.streams.items():
        digest.update(json.dumps([split, len(stream)]).encode() + b"\n")
        digest.update(np.ascontiguousarray(stream, "<i4").tobytes())
    return f"sha256:{digest.hexdigest()}"
