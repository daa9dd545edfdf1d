"""`spark-nas compact`: merge the small files of a run's results table; also while the search goes on."""

from __future__ import annotations

import argparse

from spark_nas.commands.runs import add_run_argument
from spark_nas.errors import OutputError
from spark_nas.storage.compaction import compact
from spark_nas.storage.locations import open_files
from spark_nas.storage.parts import list_parts
from spark_nas.storage.record import read_record

HELP = "merge the small files of a run's results table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN."""
    add_run_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Compact, and say what was done."""
    files = open_files(arguments.run)
    if read_record(files) is None:
        raise OutputError(f"{files.root}: no run has begun here; give OUTPUT/RUN_ID of `spark-nas search`")
    done = compact(files)
    print(f"{files.root}/results: {done.merged:,} files written, {done.removed:,} removed, ", end="")
    print(f"{len(list_parts(files).parts):,} there now")
    return 0
