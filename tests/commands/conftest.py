"""Real runs of the commands, in this process, and what they leave."""

from __future__ import annotations

import pytest

from spark_nas.cli import main
from tests.commands.answers import Answer, Command


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """`command("search", FILE, ...)` is the command's exit code with all that it printed."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as exit:  # argparse leaves this way
            code = int(exit.code or 0)
        return Answer(code, *capsys.readouterr())

    return run
