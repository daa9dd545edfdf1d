"""`spark-nas list`: the runs below an output, one line each, from the store alone."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from rich.console import Console

from spark_nas.commands.standing import standing
from spark_nas.commands.status import loss_in_words, print_table, printable, when
from spark_nas.commands.store import add_store_argument, open_store
from spark_nas.errors import UsageError
from spark_nas.report.status import Status
from spark_nas.report.view import number
from spark_nas.storage.files import Files

HELP = "list the runs of an output: what each is, where it stands, its best loss"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """OUTPUT, --set, --json."""
    parser.add_argument("output", help="folder of runs, as given to `search`")
    add_store_argument(parser)
    parser.add_argument("--json", action="store_true", help="a JSON list, for programs")


def execute(arguments: argparse.Namespace) -> int:
    """Print the list."""
    files = open_store(arguments.output, arguments.set)
    runs = list(find(files))
    if arguments.json:
        print(json.dumps([_as_json(name, run) for name, run in runs], indent=2, allow_nan=False))
        return 0
    console = Console(highlight=False)
    good = [run for _, run in runs if isinstance(run, Status)]
    if good:
        print_table(
            console, ("run", "experiment", "state", "rows", "best loss", "last activity"), list(map(_row, good))
        )
    for name, run in runs:
        if not isinstance(run, Status):
            print(printable(f"{name}: cannot be read: {run}"))
    if not runs:
        print(f"no runs in {files.root}")
    return 0


def find(files: Files) -> Iterator[tuple[str, Status | UsageError]]:
    """Each run directly below, by name: its status, or why it cannot be read. Other folders are passed over."""
    for name in files.folders(""):
        try:
            status = standing(files.below(name))
        except UsageError as error:
            yield name, error
        else:
            if status is not None:
                yield name, status


def _row(status: Status) -> tuple[str, ...]:
    best, last = status.best, status.last_activity
    return (
        status.run_id,
        status.experiment,
        status.state,
        number(status.rows),
        loss_in_words(best.loss if best is not None else None),
        "-" if last is None else when(last),
    )


def _as_json(name: str, run: Status | UsageError) -> dict[str, object]:
    if isinstance(run, Status):
        return {"folder": name, **run.as_json()}
    return {"folder": name, "state": "unreadable", "reason": " ".join(str(run).split())}
