"""`spark-nas COMMAND ...`: parses, runs one command, and turns errors into one line and an exit code.

Exit codes: 0 done (also: already done); 1 the search failed, or a defect of ours (with traceback); 2 bad input, or an
output that cannot be used; 75 stopped in order before the end, the same command continues; 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from spark_nas.commands import (
    compact,
    doctor,
    latency,
    list_runs,
    plan,
    prepare_data,
    report,
    retrain,
    search,
    status,
    submit,
)
from spark_nas.errors import SparkNasError

COMMANDS = {
    "prepare-data": prepare_data,
    "plan": plan,
    "latency": latency,
    "search": search,
    "retrain": retrain,
    "report": report,
    "status": status,
    "list": list_runs,
    "compact": compact,
    "doctor": doctor,
    "submit": submit,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code and never raises a SparkNasError."""
    parsed = parser().parse_args(arguments)
    try:
        return int(COMMANDS[parsed.command].execute(parsed))
    except SparkNasError as error:
        message = " ".join(str(error).split())
        print(f"spark-nas {parsed.command}: {message}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"spark-nas {parsed.command}: interrupted; the same command continues", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as everything here does, instead of repeating the usage."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """What reads a command line, with its errors in one line."""
    whole = _Parser(prog="spark-nas", description="Neural architecture search on the Spark cluster one already has.")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.HELP, description=module.__doc__)
        module.add_arguments(command)
    return whole


if __name__ == "__main__":
    raise SystemExit(main())
