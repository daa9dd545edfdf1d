"""`spark-nas doctor`: whether this machine, a store and a cluster can run a search, and the remedy where not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from spark_nas.commands.machine import PACKAGES, Finding, machine
from spark_nas.commands.status import print_table
from spark_nas.commands.store import add_store_argument, store_options, store_section
from spark_nas.engines.executors import slots_of
from spark_nas.engines.session import Session, is_connect
from spark_nas.engines.survey import Worker, installed, survey
from spark_nas.errors import SparkNasError
from spark_nas.object_store import StorageOptions
from spark_nas.storage.files import Files
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import probe

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HELP = "check this machine, stores and Spark before they cost time"

_WAIT_SECONDS = 60.0
_CONNECT_TASKS = 8
"""Spark Connect does not tell the size of its cluster."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """URI..., --set, --spark, --json."""
    parser.add_argument("uris", nargs="*", metavar="URI", help="folders or object stores that a run is to use")
    add_store_argument(parser)
    parser.add_argument(
        "--spark",
        nargs="?",
        const="",
        metavar="MASTER",
        help="look at Spark's executors too: of the session that is there, else of MASTER or what Spark is set to",
    )
    parser.add_argument("--json", action="store_true", help="a JSON list, for programs")


def execute(arguments: argparse.Namespace) -> int:
    """Print what was found; 1 when something is wrong."""
    findings = list(machine())
    options = store_options(store_section(arguments.set))
    stores = {uri: _open(uri, options) for uri in dict.fromkeys(arguments.uris)}
    for uri, store in stores.items():
        findings += [store] if isinstance(store, Finding) else look_at(uri, store)
    if arguments.spark is not None:
        findings += cluster(arguments.spark or None, [s for s in stores.values() if not isinstance(s, Finding)])
    wrong = sum(finding.verdict == "wrong" for finding in findings)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        rows = [(f.verdict.upper() if f.verdict == "wrong" else f.verdict, f.what, f.found, f.remedy) for f in findings]
        print_table(Console(highlight=False), ("verdict", "what", "found", "remedy"), rows)
        print("\nall is well" if not wrong else f"\n{wrong} wrong: see the remedies")
    return 1 if wrong else 0


def _open(uri: str, options: StorageOptions) -> Files | Finding:
    try:
        return open_files(uri, options)
    except SparkNasError as error:
        return Finding(uri, "cannot be opened", "wrong", str(error))


def look_at(uri: str, files: Files) -> Iterator[Finding]:
    """What the store at `uri` can do: one line when it can do all that is needed, else one for each failure."""
    checks = probe(files)
    failed = [check for check in checks if not check.passed]
    if not failed:
        yield Finding(uri, f"can {', '.join(check.name for check in checks)}")
    for check in failed:
        yield Finding(uri, f"cannot {check.name}", "wrong", " ".join(check.reason.split()))


class CanWrite:
    """Asked on an executor: what it cannot do at the stores; picklable."""

    def __init__(self, stores: Sequence[Files]) -> None:
        self._stores = list(stores)

    def __call__(self) -> str | None:
        """The first failure, or None."""
        for files in self._stores:
            for check in probe(files):
                if not check.passed:
                    return f"{files.root}: cannot {check.name}: {check.reason}"
        return None


def cluster(master: str | None, stores: Sequence[Files]) -> Iterator[Finding]:
    """What Spark's executors are like, and whether they can use the stores; a session made here is stopped again."""
    try:
        session, ours = Session(master, wait_seconds=_WAIT_SECONDS).open()
    except SparkNasError as error:
        yield Finding("Spark", "no session", "wrong", str(error))
        return
    try:
        yield Finding("Spark", f"{session.version}, {_master(session)}")
        slots = _CONNECT_TASKS if is_connect(session) else slots_of(session, None, _WAIT_SECONDS)
        if not is_connect(session):
            yield Finding("tasks at a time", str(slots))
        for worker in survey(session, slots, tuple(PACKAGES), CanWrite(stores)):
            yield from _worker(worker, installed(tuple(PACKAGES)))
    except SparkNasError as error:
        yield Finding("executors", "run no Python of ours", "wrong", " ".join(str(error).split()))
    finally:
        if ours:
            session.stop()


def _master(session: SparkSession) -> str:
    return "Spark Connect" if is_connect(session) else str(session.sparkContext.master)


def _worker(worker: Worker, here: dict[str, str]) -> Iterator[Finding]:
    """One line for a worker like the driver; one more for each difference."""
    name = f"{worker.host}/{worker.pid}"
    gpu = f"GPU {worker.gpu}" if worker.gpu is not None else "no GPU"
    yield Finding(name, f"Python {worker.versions['python']}, {worker.threads} cores a task, {gpu}")
    for package, version in here.items():
        there = worker.versions.get(package)
        if there != version:
            found = f"{package} {there or 'is not installed'}, here {version}"
            yield Finding(name, found, "wrong", "give driver and executors the same packages")
    if worker.trouble is not None:
        yield Finding(name, "cannot use a store", "wrong", " ".join(worker.trouble.split()))
