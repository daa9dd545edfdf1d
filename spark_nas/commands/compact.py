"""`spark-nas compact`: merge the small files of a run's results table; also while the search goes on.

What killed processes have left of checkpoints and of half-written files is removed too, unless a driver holds the run:
then it may be in the making. Where no commit says that a file is nobody's, only temporary ones an hour old are removed:
a worker may have outlived its driver.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from spark_nas.commands.runs import add_run_argument
from spark_nas.commands.store import open_store
from spark_nas.errors import OutputError
from spark_nas.storage.compaction import compact
from spark_nas.storage.garbage import sweep_all
from spark_nas.storage.lease import read_lease
from spark_nas.storage.parts import list_parts
from spark_nas.storage.record import read_record

HELP = "merge the small files of a run's results table"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --set."""
    add_run_argument(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Compact, and say what was done."""
    files = open_store(arguments.run, arguments.set)
    if read_record(files) is None:
        raise OutputError(f"{files.root}: no run has begun here; give OUTPUT/RUN_ID of `spark-nas search`")
    done = compact(files)
    print(f"{files.root}/results: {done.merged:,} files written, {done.removed:,} removed, ", end="")
    print(f"{len(list_parts(files).parts):,} there now")
    lease = read_lease(files)
    if lease is not None and not lease.expired(datetime.now(UTC)):
        print(f"{files.root}/checkpoints: left alone, {lease.holder} works here")
    elif swept := sweep_all(files):
        print(f"{files.root}: {swept:,} files that killed processes left removed")
    return 0
