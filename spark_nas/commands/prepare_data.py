"""`spark-nas prepare-data`: write a data set as Parquet shards that executors read with petastorm.

spark-nas prepare-data digits --output DATA
spark-nas prepare-data IMAGES --output DATA
spark-nas prepare-data text FILE ... --output DATA
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from spark_nas.data.descriptor import FILE_NAME, Descriptor
from spark_nas.data.folder import DataFolder, open_folder
from spark_nas.data.prepare import (
    SEED,
    SHARDS,
    TEST_FRACTION,
    VALID_FRACTION,
    D,
    Planned,
    check_output,
    fill,
    plan_examples,
)
from spark_nas.data.prepare_text import check_vocabulary, plan_text
from spark_nas.data.sources import KINDS, Source, Text, open_source
from spark_nas.data.text_descriptor import LEVELS, TextDescriptor, load_any
from spark_nas.engines.session import Session
from spark_nas.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HELP = "write a data set as shards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, --output and how to split."""
    parser.add_argument("source", nargs="+", help=f"{KINDS}; or `text` and one text file, three, or a .zip of them")
    parser.add_argument(
        "--output", required=True, help="folder of the data set, shared by driver and executors, or s3://BUCKET/PREFIX"
    )
    parser.add_argument("--shards", type=int, default=SHARDS, help=f"files of each split (default: {SHARDS})")
    parser.add_argument("--seed", type=int, help=f"of splits and shuffling, of which a text has none (default: {SEED})")
    said = f"of the training rows or tokens (default: {VALID_FRACTION})"
    parser.add_argument("--valid-fraction", type=float, default=VALID_FRACTION, help=said)
    said = f"where the source has no test split (default: {TEST_FRACTION})"
    parser.add_argument("--test-fraction", type=float, default=TEST_FRACTION, help=said)
    parser.add_argument("--name", help="of the data set (default: the source's)")
    parser.add_argument("--image-size", type=int, help="edge in pixels to which encoded images are resized")
    parser.add_argument("--level", choices=LEVELS, help="what a token of a text is (default: word)")
    parser.add_argument("--vocabulary", type=int, help="most different tokens of a text; the rest is <unk>")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    parser.add_argument("--if-missing", action="store_true", help="leave a data set that is there as it is")
    parser.add_argument("--master", help="Spark master (default: the platform's, or local[*])")


def execute(arguments: argparse.Namespace) -> int:
    """Write the shards, saying what is under way and, on the last line, what was written."""
    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    print(write_shards(**options, on_step=_tell))
    return 0


def _tell(step: str) -> None:
    print(f"prepare-data: {step}", flush=True)


def write_shards(
    source: Sequence[str],
    output: str,
    *,
    shards: int = SHARDS,
    seed: int | None = None,
    valid_fraction: float = VALID_FRACTION,
    test_fraction: float = TEST_FRACTION,
    name: str | None = None,
    image_size: int | None = None,
    level: str | None = None,
    vocabulary: int | None = None,
    overwrite: bool = False,
    if_missing: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
    on_step: Callable[[str], None] = lambda step: None,
) -> str:
    """Write a data set; returns a line that says what is there now. Raises DataError, OptionError, OutputError.

    `source`: what the command takes, `text` and its files too. `seed`: a text, which is cut in its own order, has none.
    `spark`: the session that writes, which is left open; None takes the one that is there, or makes one (on `master`)
    and stops it. `on_step`: is told, in words, what begins.
    """
    folder = open_folder(output)
    if if_missing and folder.sizes([FILE_NAME]) != [None]:
        return f"{folder.location} is there already: {load_any(folder).name}"
    opened = _source(source, seed, image_size, level, vocabulary)
    making = Session(master=master)
    check_output(folder, overwrite)
    options: dict[str, Any] = {"valid_fraction": valid_fraction, "test_fraction": test_fraction, "name": name}
    on_step(f"reading {' '.join(source)}")
    where = (folder, spark, making, on_step)
    # All that may be wrong with the source and the options is found before Spark starts.
    if isinstance(opened, Text):
        text = plan_text(opened, shards=shards, vocabulary=vocabulary, **options)
        return _said_of_text(_written(text, *where), folder)
    examples = plan_examples(opened, shards=shards, seed=SEED if seed is None else seed, **options)
    return _said_of_examples(_written(examples, *where), folder)


def _written(
    planned: Planned[D], folder: DataFolder, spark: SparkSession | None, making: Session, on_step: Callable[[str], None]
) -> D:
    """Let a session write: `spark`, which is left open, or else that of `making`, stopped if it was made here."""
    if spark is None:
        on_step("opening a Spark session")
    session, ours = (spark, False) if spark is not None else making.open()
    try:
        splits = planned.splits.splits
        rows = sum(len(rows) for _, rows in splits.values())
        on_step(f"writing {rows:,} rows in {planned.shards * len(splits)} shards to {folder.location}")
        return fill(session, folder, planned)
    finally:
        if ours:
            session.stop()


def _source(
    source: Sequence[str], seed: int | None, image_size: int | None, level: str | None, vocabulary: int | None
) -> Source | Text:
    """What SOURCE names. Raises DataError, also for an option of the other kind of source."""
    kind, *paths = source
    if kind == "text":  # a folder of that name is `./text`
        if image_size is not None:
            raise DataError(f"image size {image_size}: a text has no images; leave it out")
        if seed is not None:
            raise DataError(f"seed {seed}: a text is cut in its own order, nothing is drawn; leave it out")
        check_vocabulary(vocabulary)
        text = Text(tuple(paths), level or LEVELS[0])
        text.files()  # whether they are there, before Spark starts
        return text
    if paths:
        raise DataError(f"{paths[0]}: one source at a time; only `text` takes several files")
    for option, value in (("level", level), ("vocabulary", vocabulary)):
        if value is not None:
            raise DataError(f"{option} {value}: only `text` has one; leave it out")
    return open_source(kind, image_size)


def _said_of_examples(descriptor: Descriptor, output: DataFolder) -> str:
    splits = ", ".join(f"{name} {split.rows:,}" for name, split in descriptor.splits.items())
    shape = "x".join(map(str, descriptor.input_shape))
    return f"{descriptor.name}: {splits} examples of {shape}, {len(descriptor.classes)} classes, in {output.location}"


def _said_of_text(descriptor: TextDescriptor, output: DataFolder) -> str:
    splits = ", ".join(f"{name} {tokens:,}" for name, tokens in descriptor.tokens.items())
    what = f"{descriptor.level}s, {descriptor.vocabulary:,} different"
    return f"{descriptor.name}: {splits} {what}, in {output.location}"
