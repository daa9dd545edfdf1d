"""`spark-nas prepare-data`: write a data set as Parquet shards that executors read with petastorm.

spark-nas prepare-data digits --output DATA
spark-nas prepare-data IMAGES --output DATA
spark-nas prepare-data text FILE ... --output DATA
"""

from __future__ import annotations

import argparse

from spark_nas.data.descriptor import FILE_NAME, Descriptor
from spark_nas.data.folder import DataFolder, open_folder
from spark_nas.data.prepare import check_output, prepare
from spark_nas.data.prepare_text import check_vocabulary, prepare_text
from spark_nas.data.sources import KINDS, Source, Text, open_source
from spark_nas.data.text_descriptor import LEVELS, TextDescriptor, load_any
from spark_nas.engines.session import Session
from spark_nas.errors import DataError

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
    output = open_folder(arguments.output)
    if arguments.if_missing and output.sizes([FILE_NAME]) != [None]:
        print(f"{output.location} is there already: {load_any(output).name}")
        return 0
    source = _source(arguments)
    check_output(output, arguments.overwrite)  # before Spark starts
    session, ours = Session(master=arguments.master).open()
    common = {
        "shards": arguments.shards,
        "valid_fraction": arguments.valid_fraction,
        "test_fraction": arguments.test_fraction,
        "name": arguments.name,
        "overwrite": arguments.overwrite,
    }
    try:
        if isinstance(source, Text):
            text = prepare_text(session, source, output, vocabulary=arguments.vocabulary, **common)
            print(_said_of_text(text, output))
        else:
            descriptor = prepare(session, source, output, seed=arguments.seed, **common)
            print(_said_of_examples(descriptor, output))
    finally:
        if ours:
            session.stop()
    return 0


def _source(arguments: argparse.Namespace) -> Source | Text:
    """What SOURCE names. Raises DataError, also for an option of the other kind of source."""
    kind, *paths = arguments.source
    if kind == "text":  # a folder of that name is `./text`
        if arguments.image_size is not None:
            raise DataError(f"image size {arguments.image_size}: a text has no images; leave it out")
        check_vocabulary(arguments.vocabulary)
        text = Text(tuple(paths), arguments.level or LEVELS[0])
        text.files()  # whether they are there, before Spark starts
        return text
    if paths:
        raise DataError(f"{paths[0]}: one source at a time; only `text` takes several files")
    for option in ("level", "vocabulary"):
        if getattr(arguments, option) is not None:
            raise DataError(f"{option} {getattr(arguments, option)}: only `text` has one; leave it out")
    return open_source(kind, arguments.image_size)


def _said_of_examples(descriptor: Descriptor, output: DataFolder) -> str:
    splits = ", ".join(f"{name} {split.rows:,}" for name, split in descriptor.splits.items())
    shape = "x".join(map(str, descriptor.input_shape))
    return f"{descriptor.name}: {splits} examples of {shape}, {len(descriptor.classes)} classes, in {output.location}"


def _said_of_text(descriptor: TextDescriptor, output: DataFolder) -> str:
    splits = ", ".join(f"{name} {tokens:,}" for name, tokens in descriptor.tokens.items())
    what = f"{descriptor.level}s, {descriptor.vocabulary:,} different"
    return f"{descriptor.name}: {splits} {what}, in {output.location}"
