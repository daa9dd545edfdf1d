"""`spark-nas prepare-data`: write a data set as Parquet shards that executors read with petastorm.

spark-nas prepare-data digits --output DATA
spark-nas prepare-data IMAGES --output DATA
spark-nas prepare-data text FILE ... --output DATA
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from spark_nas.data.descriptor import FILE_NAME, Descriptor
from spark_nas.data.folder import DataFolder, open_folder
from spark_nas.data.prepare import check_output, prepare
from spark_nas.data.prepare_text import check_vocabulary, prepare_text
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
    parser.add_argument("--shards", type=int, default=4, help="files of each split (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of splits and shuffling (default: 1)")
    parser.add_argument(
        "--valid-fraction", type=float, default=0.1, help="of the training rows or tokens (default: 0.1)"
    )
    parser.add_argument(
        "--test-fraction", type=float, default=0.2, help="where the source has no test split (default: 0.2)"
    )
    parser.add_argument("--name", help="of the data set (default: the source's)")
    parser.add_argument("--image-size", type=int, help="edge in pixels to which encoded images are resized")
    parser.add_argument("--level", choices=LEVELS, help="what a token of a text is (default: word)")
    parser.add_argument("--vocabulary", type=int, help="most different tokens of a text; the rest is <unk>")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    parser.add_argument("--if-missing", action="store_true", help="leave a data set that is there as it is")
    parser.add_argument("--master", help="Spark master (default: the platform's, or local[*])")


def execute(arguments: argparse.Namespace) -> int:
    """Write the shards, and say what was written."""
    options = {name: value for name, value in vars(arguments).items() if name != "command"}
    print(write_shards(**options))
    return 0


def write_shards(
    source: Sequence[str],
    output: str,
    *,
    shards: int = 4,
    seed: int = 1,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.2,
    name: str | None = None,
    image_size: int | None = None,
    level: str | None = None,
    vocabulary: int | None = None,
    overwrite: bool = False,
    if_missing: bool = False,
    master: str | None = None,
    spark: SparkSession | None = None,
) -> str:
    """Write a data set; returns a line that says what is there now. Raises DataError, OptionError, OutputError.

    `source`: what the command takes, `text` and its files too. `spark`: the session that writes, which is left open;
    None takes the one that is there, or makes one (on `master`) and stops it.
    """
    folder = open_folder(output)
    if if_missing and folder.sizes([FILE_NAME]) != [None]:
        return f"{folder.location} is there already: {load_any(folder).name}"
    opened = _source(source, image_size, level, vocabulary)
    check_output(folder, overwrite)  # before Spark starts
    splits = {"valid_fraction": valid_fraction, "test_fraction": test_fraction}
    common: dict[str, Any] = {"shards": shards, "name": name, "overwrite": overwrite, **splits}
    session, ours = (spark, False) if spark is not None else Session(master=master).open()
    try:
        if isinstance(opened, Text):
            return _said_of_text(prepare_text(session, opened, folder, vocabulary=vocabulary, **common), folder)
        return _said_of_examples(prepare(session, opened, folder, seed=seed, **common), folder)
    finally:
        if ours:
            session.stop()


def _source(source: Sequence[str], image_size: int | None, level: str | None, vocabulary: int | None) -> Source | Text:
    """What SOURCE names. Raises DataError, also for an option of the other kind of source."""
    kind, *paths = source
    if kind == "text":  # a folder of that name is `./text`
        if image_size is not None:
            raise DataError(f"image size {image_size}: a text has no images; leave it out")
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
