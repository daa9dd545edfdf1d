"""`spark-nas status`: where a run stands, from its folder alone: also while its driver works, or is dead."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from spark_nas.commands.runs import add_run_argument
from spark_nas.commands.standing import need, standing
from spark_nas.commands.store import open_store
from spark_nas.report.plain import aligned
from spark_nas.report.status import Status
from spark_nas.report.view import duration, number

_WORDS = ("run", "experiment", "state", "last activity", "failed because", "verdict", "what", "found", "remedy")

HELP = "show where a run stands, whether or not its driver is alive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --set, --json."""
    add_run_argument(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")


def execute(arguments: argparse.Namespace) -> int:
    """Print the status."""
    files = open_store(arguments.run, arguments.set)
    status = need(standing(files), files)
    if arguments.json:
        print(json.dumps(status.as_json(), indent=2, allow_nan=False))
    else:
        show(status, datetime.now(UTC))
    return 0


def show(status: Status, now: datetime) -> None:
    """The status in words and tables."""
    console = Console(highlight=False)
    for name, words in _lines(status, now):
        console.print(Text(f"{name:<11}{printable(words)}"), soft_wrap=True)
    if status.levels:
        print()
        rows = [
            (number(v.resource), number(v.completed), number(v.failed), number(v.promoted), loss_in_words(v.best))
            for v in status.levels
        ]
        print_table(console, ("epochs", "completed", "failed", "promoted", "best loss"), rows)
    if status.failures:
        print()
        print_table(console, ("times", "failed because"), [(number(n), reason) for reason, n in status.failures])


def _lines(status: Status, now: datetime) -> Iterator[tuple[str, str]]:
    yield "run", f"{status.run_id} (experiment {status.experiment})"
    yield "state", state_in_words(status)
    told = f"{status.rows:,} told: {status.completed:,} completed, {status.failed:,} failed"
    yield "jobs", f"{told}; {status.in_flight:,} in flight"
    yield "training", f"{status.epochs:,} epochs"
    if status.first_start is not None and status.last_result is not None:
        yield "results", f"from {when(status.first_start)} to {when(status.last_result, now)}"
    if status.best is not None:
        best = status.best
        measures = "".join(f", {name} {value:.4g}" for name, value in sorted(best.metrics.items()))
        yield "best", f"loss {best.loss:.5g}{measures} (trial {best.trial}, epochs: {best.resource:,})"
        yield from ((name, words) for name, words in (("", best.architecture), ("", best.recipe)) if words)
    else:
        yield "best", "no usable result yet"
    if status.executors:
        hosts = {name.split("/")[0] for name in status.executors}
        yield "executors", f"{len(status.executors):,} on {len(hosts):,} hosts: {_some(list(status.executors))}"
    yield "table", f"{status.files:,} files, {_size(status.bytes)}"


def state_in_words(status: Status) -> str:
    """The state, and who has or had the run."""
    driver = status.driver
    if driver is None:
        return f"{status.state}; no driver has held the run"
    if driver.alive:
        return f"running: {driver.holder}, lease valid until {when(driver.valid_until)}"
    how = "ended in order" if driver.ended_in_order else "is gone"
    rest = {
        "done": "",
        "unclear": "; its experiment cannot be read here (is a module of its own not on Python's path?), so whether it "
        "is finished is not known",
    }.get(status.state, "; the command that began the search continues it")
    return f"{status.state}: {driver.holder} {how} (last seen {when(driver.last_seen)}){rest}"


def print_table(console: Console, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table of texts: words to the left, numbers to the right; where there is no terminal, one line a row."""
    cells = [tuple(map(printable, row)) for row in rows]
    if not console.is_terminal:
        console.file.write(aligned(headings, cells, _WORDS))
        return
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for heading in headings:
        last = heading == headings[-1]
        table.add_column(heading, justify="left" if heading in _WORDS else "right", no_wrap=not last, overflow="fold")
    for cell in cells:
        table.add_row(*map(Text, cell))
    console.print(table)


def printable(text: str) -> str:
    r"""Text from a store, without what would command a terminal.

    >>> printable("out of memory\x1b[2J")
    'out of memory?[2J'
    """
    return "".join(character if character.isprintable() else "?" for character in text)


def when(moment: datetime, now: datetime | None = None) -> str:
    """`2026-11-24 12:03:04 UTC`, and how long before `now`."""
    ago = f" ({duration(max(0.0, (now - moment).total_seconds()))} ago)" if now is not None else ""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC{ago}"


def loss_in_words(loss: float | None) -> str:
    """Five digits; a dash where there is none."""
    return "-" if loss is None else f"{loss:.5g}"


def _some(names: Sequence[str], most: int = 4) -> str:
    return ", ".join([*names[:most], *(["..."] if len(names) > most else [])])


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}" if unit != "bytes" else f"{size:.0f} bytes"
        size /= 1000
    return f"{size:.3g} GB"
