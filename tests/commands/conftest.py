"""Real runs of the commands, in this process, and what they leave."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spark_nas.cli import main
from tests.commands.answers import Answer, Command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


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


@pytest.fixture(scope="session")
def digits(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, prepared once for the whole suite; never to be changed."""
    from spark_nas.data.prepare import prepare
    from spark_nas.data.sources.digits import Digits

    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(spark, Digits(), folder, shards=2)
    return folder
