"""`spark-nas COMMAND ...`: parses, runs one command, and turns errors into one line and an exit code.

Exit codes: 0 done (also: already done); 1 the search failed, or a defect of ours (with traceback); 2 bad input, or an
output that cannot be used; 75 stopped in order before the end, the same command continues; 130 interrupted; 141 nobody
reads the output any more (`| head`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from typing import Any, NoReturn, TextIO, cast

from spark_nas.checking import nearest
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


_UNREAD = 141
"""What a shell says of a process that SIGPIPE ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code and never raises a SparkNasError."""
    if sys.stdout is None:  # closed before we began; print knows that
        return _run(arguments)
    output = _Output(sys.stdout)
    try:
        with redirect_stdout(cast("TextIO", output)):
            code = _run(arguments)
    except BrokenPipeError as error:
        if error is not output.broken:  # a socket's: a defect like any other
            raise
        code = _UNREAD
    finally:
        output.settle()
    return code or (_UNREAD if output.broken else 0)


class _Output:
    """Standard output that remembers that nobody reads it any more, so that no other broken pipe is taken for that.

    SIGPIPE must stay ignored: at a socket the error is needed.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.broken: BrokenPipeError | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except BrokenPipeError as error:
            self.broken = error
            raise

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError as error:
            self.broken = error
            raise

    def settle(self) -> None:
        """Flush while a broken pipe can still be told; what nobody reads goes nowhere, lest the flush at exit fail."""
        with suppress(OSError):  # any other is told by the flush at exit
            self.flush()
        if self.broken:
            with suppress(OSError), open(os.devnull, "wb") as nowhere:  # a stream may have no descriptor
                os.dup2(nowhere.fileno(), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever else the stream has
        return getattr(self._stream, name)


def _run(arguments: Sequence[str] | None) -> int:
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
    """Complains in one line, as everything here does, instead of repeating the usage; of a misspelt flag first."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 - as argparse has it
        """Unknown words are complained of here, by the parser of the command that they were given to."""
        self._given = sys.argv[1:] if args is None else list(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return found, unknown

    def error(self, message: str) -> NoReturn:
        known = list(self._option_string_actions)
        flags = [word.partition("=")[0] for word in self._given if word.startswith("--")]
        wrong = [flag for flag in flags if not any(option.startswith(flag) for option in known)]
        # A misspelt flag is why one that is required is not there.
        if wrong and message.startswith(("the following arguments are required", "unrecognized")):
            message = f"unrecognized argument {wrong[0]}{nearest(wrong[0], known)}"
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
