"""What a platform starts: any command of spark-nas, with its experiment inline and its ending told to a scheduler.

    spark-nas-job [--experiment JSON] [--ending URI] [--fail-only-unfinished] COMMAND ...
    spark-nas-job [--experiment JSON] --verdict URI

A scheduler should retry on exit code 75 and on no other, but most platforms tell it only whether a job failed: EMR
and Dataproc keep the driver's exit code to themselves, and Databricks retries every failure. So the code is also left
in a small file (`--ending`) that a scheduler reads, and where the platform itself retries, `--fail-only-unfinished`
fails for 75 alone; a following task that never retries asks for the verdict and fails for the rest.

A Databricks wheel task ignores what its entry point returns, and some of its runtimes report SystemExit(0) as a
failure: so `main` raises for everything but 0, and then returns.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from spark_nas import cli
from spark_nas.commands.store import store_options, store_section
from spark_nas.config import read
from spark_nas.errors import OutputError, SparkNasError, Unfinished
from spark_nas.object_store import StorageOptions
from spark_nas.storage.locations import open_files


def main(arguments: Sequence[str] | None = None) -> None:
    """Run it. Raises SystemExit with the exit code when that is not 0."""
    options = _options(sys.argv[1:] if arguments is None else arguments)
    code = verdict(options.verdict, _inline_storage(options.experiment)) if options.verdict else run(options)
    if code and not (options.fail_only_unfinished and code != Unfinished.exit_code):
        raise SystemExit(code)


def run(options: argparse.Namespace) -> int:
    """Run the command and leave its ending; returns the exit code, also where the command did not return one."""
    code, storage = 1, None  # of an exception that nobody expected
    try:
        with _with_experiment(options.experiment, options.command) as command:
            storage = _storage(command)
            code = cli.main(command)
    except SystemExit as end:  # argparse leaves this way
        code = int(end.code or 0)
    finally:
        if options.ending:
            _leave(options.ending, storage, code, options.command)
    return code


def verdict(ending: str, storage: StorageOptions | None = None) -> int:
    """The exit code that was left at `ending`, a place reached by `storage`. Raises OutputError where there is none."""
    folder, _, name = ending.rpartition("/")
    content = open_files(folder, storage).read(name)
    if content is None:
        raise OutputError(f"{ending}: nothing has ended here")
    return int(json.loads(content)["exit_code"])


@contextmanager
def _with_experiment(experiment: str | None, command: Sequence[str]) -> Iterator[list[str]]:
    """The command, with the inline experiment as a file after its name."""
    if experiment is None:
        yield list(command)
        return
    with tempfile.TemporaryDirectory(prefix="spark-nas-") as folder:
        file = Path(folder) / "experiment.yaml"
        file.write_text(experiment, encoding="utf-8")  # JSON is YAML
        yield [command[0], str(file), *command[1:]]


def _storage(command: Sequence[str]) -> StorageOptions | None:
    """How the command reaches its store: the storage section of its experiment, and its `--set storage.KEY=VALUE`.

    None where the command says nothing, or says it wrongly; that is its own complaint to make, and not made twice.
    """
    silent = io.StringIO()
    with suppress(SystemExit, SparkNasError), redirect_stderr(silent), redirect_stdout(silent):
        given = vars(cli.parser().parse_args(command))
        section = _section(read(given["experiment"])) if "experiment" in given else {}
        settings = [setting for setting in given.get("set", ()) if setting.startswith("storage.")]
        return store_options({**section, **store_section(settings)})
    return None


def _inline_storage(experiment: str | None) -> StorageOptions | None:
    return None if experiment is None else store_options(_section(json.loads(experiment)))


def _section(experiment: Mapping[str, Any]) -> dict[str, object]:
    section = experiment.get("storage")
    return dict(section) if isinstance(section, Mapping) else {}


def _leave(ending: str, storage: StorageOptions | None, code: int, command: Sequence[str]) -> None:
    """Write the ending; a store that cannot be written to must not hide how the command ended."""
    folder, _, name = ending.rpartition("/")
    content = {"exit_code": code, "command": command[0], "ended_at": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        open_files(folder, storage).write(name, json.dumps(content).encode())
    except (SparkNasError, OSError) as error:
        print(f"spark-nas-job: the ending cannot be left at {ending}: {error}", file=sys.stderr)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="spark-nas-job", description=__doc__)
    parser.add_argument("--experiment", metavar="JSON", help="the experiment, instead of a file after COMMAND")
    parser.add_argument("--ending", metavar="URI", help="file in which the exit code is left")
    parser.add_argument("--fail-only-unfinished", action="store_true", help="fail for exit code 75 alone")
    verdict_ = "end with the exit code that another job left there; of --experiment it takes the storage section"
    parser.add_argument("--verdict", metavar="URI", help=verdict_)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="a command of spark-nas with its arguments")
    options = parser.parse_args(arguments)
    if not options.verdict and not options.command:
        parser.error("give a command of spark-nas, or --verdict")
    return options
