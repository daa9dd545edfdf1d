"""`spark-nas list`: every run below an output, the damaged ones too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spark_nas.cli import main
from spark_nas.commands.standing import standing
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Lease
from tests.commands.answers import Command


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good runs, three that cannot be read, and folders that are none. Never to be changed."""
    folder = tmp_path_factory.mktemp("list")
    (folder / "small.yaml").write_text(
        "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
    )
    arguments = ["search", str(folder / "small.yaml"), "--output", str(folder / "runs")]
    for run_id, more in (("b-whole", ()), ("a-part", ("--set", "budget.jobs=2")), ("c-torn", ())):
        assert main([*arguments, "--run-id", run_id, *more]) == 0
    part = folder / "runs/c-torn/results/part-00000000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    (folder / "runs/d-future").mkdir()
    (folder / "runs/d-future/run.json").write_text('{"record_version": 99}')
    (folder / "runs/e-torn").mkdir()
    (folder / "runs/e-torn/run.json").write_text('{"record_version": 1, "run_')
    (folder / "runs/data").mkdir()
    (folder / "runs/data/descriptor.json").write_text("{}")
    (folder / "runs/file.txt").write_text("no folder")
    return folder / "runs"


def test_one_line_a_run(output: Path, command: Command):
    answer = command("list", output)
    assert (0, "") == (answer.code, answer.err)
    heading, *rows = answer.out.splitlines()
    assert heading.split() == ["run", "experiment", "state", "rows", "best", "loss", "last", "activity"]
    for row, run_id, jobs in zip(rows[:2], ("a-part", "b-whole"), (2, 6), strict=True):
        status = standing(LocalFiles(output / run_id))
        assert status is not None
        assert status.best is not None
        assert row.split()[:5] == [run_id, "small", "done", str(jobs), f"{status.best.loss:.5g}"]
        assert row.endswith(" UTC")


def test_a_run_that_cannot_be_read_is_shown_with_the_reason(output: Path, command: Command):
    rest = command("list", output).out.splitlines()[3:]
    assert [line.split(":")[0] for line in rest] == ["c-torn", "d-future", "e-torn"]
    assert "part-00000000.parquet is not a results part" in rest[0]
    assert "has version 99" in rest[1]
    assert "run.json is not a run record" in rest[2]


def test_for_programs_it_is_a_json_list(output: Path, command: Command):
    runs = json.loads(command("list", output, "--json").out)
    assert [(run["folder"], run["state"]) for run in runs] == [
        ("a-part", "done"), ("b-whole", "done"), ("c-torn", "unreadable"), ("d-future", "unreadable"),
        ("e-torn", "unreadable"),
    ]  # fmt: skip
    assert runs[1]["rows"] == 6
    assert runs[1]["last_activity"] == runs[1]["driver"]["last_seen"]
    assert "version 99" in runs[3]["reason"]


def unread(*words: object, unbuffered: str = "") -> tuple[int, bytes]:
    """Exit code and standard error of a command whose output nobody reads."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "spark_nas.cli", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    try:
        done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False, env=environment)
    finally:
        os.close(writer)
    return done.returncode, done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["at the last flush", "while it prints"])
def test_a_command_whose_output_nobody_reads_ends_quietly(output: Path, unbuffered: str):
    assert (141, b"") == unread("list", output, "--json", unbuffered=unbuffered)


def test_a_command_that_failed_keeps_its_code_and_line_where_nobody_reads_the_output():
    code, said = unread("list", "s4://bucket/runs")
    assert (2, 1) == (code, len(said.splitlines()))


def test_help_that_nobody_reads_ends_quietly():
    assert b"" == unread("--help")[1]


def test_a_broken_pipe_that_is_not_the_output_is_not_hidden(output: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(parsed: object) -> int:
        print("read by somebody")
        raise BrokenPipeError(32, "a socket's")

    monkeypatch.setattr("spark_nas.commands.list_runs.execute", broken)
    with pytest.raises(BrokenPipeError, match="a socket's"):
        main(["list", str(output)])


def test_a_run_that_is_held_runs(tmp_path: Path, output: Path, command: Command):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/run.json").write_bytes((output / "b-whole/run.json").read_bytes())
    with Lease(LocalFiles(tmp_path / "x"), seconds=3600.0):
        (run,) = json.loads(command("list", tmp_path, "--json").out)
    assert (run["state"], run["rows"]) == ("running", 0)


def test_where_there_are_none_it_says_so(tmp_path: Path, command: Command):
    answer = command("list", tmp_path)
    assert (0, f"no runs in {tmp_path}\n") == (answer.code, answer.out)
    assert "[]\n" == command("list", tmp_path, "--json").out


def test_a_store_that_is_none_is_refused(command: Command):
    answer = command("list", "s4://bucket/runs")
    assert answer.code == 2
    assert "there is no store 's4'" in answer.complaint
