"""`spark-nas prepare-data`: write a data set as Parquet shards that executors read with petastorm."""

from __future__ import annotations

import argparse

from spark_nas.data.descriptor import FILE_NAME, load_descriptor
from spark_nas.data.folder import open_folder
from spark_nas.data.prepare import check_output, prepare
from spark_nas.data.sources import KINDS, open_source
from spark_nas.engines.session import Session

HELP = "write a data set as shards"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """SOURCE, --output and how to split."""
    parser.add_argument("source", help=KINDS)
    parser.add_argument(
        "--output", required=True, help="folder of the data set, shared by driver and executors, or s3://BUCKET/PREFIX"
    )
    parser.add_argument("--shards", type=int, default=4, help="files of each split (default: 4)")
    parser.add_argument("--seed", type=int, default=1, help="of splits and shuffling (default: 1)")
    parser.add_argument("--valid-fraction", type=float, default=0.1, help="of the training rows (default: 0.1)")
    parser.add_argument(
        "--test-fraction", type=float, default=0.2, help="where the source has no test split (default: 0.2)"
    )
    parser.add_argument("--name", help="of the data set (default: the source's)")
    parser.add_argument("--image-size", type=int, help="edge in pixels to which encoded images are resized")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    parser.add_argument("--if-missing", action="store_true", help="leave a data set that is there as it is")
    parser.add_argument("--master", help="Spark master (default: the platform's, or local[*])")


def execute(arguments: argparse.Namespace) -> int:
    """Write the shards, and say what was written."""
    output = open_folder(arguments.output)
    if arguments.if_missing and output.sizes([FILE_NAME]) != [None]:
        print(f"{output.location} is there already: {load_descriptor(output).name}")
        return 0
    source = open_source(arguments.source, arguments.image_size)
    check_output(output, arguments.overwrite)  # before Spark starts
    session, ours = Session(master=arguments.master).open()
    try:
        descriptor = prepare(
            session,
            source,
            output,
            shards=arguments.shards,
            seed=arguments.seed,
            valid_fraction=arguments.valid_fraction,
            test_fraction=arguments.test_fraction,
            name=arguments.name,
            overwrite=arguments.overwrite,
        )
    finally:
        if ours:
            session.stop()
    splits = ", ".join(f"{name} {split.rows:,}" for name, split in descriptor.splits.items())
    shape = "x".join(map(str, descriptor.input_shape))
    print(f"{descriptor.name}: {splits} examples of {shape}, {len(descriptor.classes)} classes, in {output.location}")
    return 0
