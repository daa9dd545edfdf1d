"""Real runs of the commands, in this process, and what they leave."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from spark_nas.cli import main
from tests.commands.answers import Answer, Command
from tests.commands.bad_world import GOOD


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
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an experiment file and a finished run of it, `runs/good`."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "good.yaml").write_text(GOOD)
    assert main(["search", str(folder / "good.yaml"), "--output", str(folder / "runs")]) == 0
    return folder


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A copy of `finished`, with some things in it that are no good."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "empty").mkdir()
    (tmp_path / "garbled").mkdir()
    (tmp_path / "garbled" / "descriptor.json").write_text("{")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "run.json").write_text('{"record_version": 1, "run_')
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("\\begin{document}")
    (tmp_path / "broken.yaml").write_text("space: [mlp\n")
    return tmp_path
