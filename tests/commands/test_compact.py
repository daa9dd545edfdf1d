"""`spark-nas compact`: fewer files, the same rows, and the search goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.storage.compaction import Compactor
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Lease
from spark_nas.storage.parts import FAN
from tests.commands.answers import Command

EXPERIMENT = "{space: mlp, scheduler: {name: hyperband, max_resource: 9}, evaluator: synthetic, seed: 2}"


def rows(run: Path) -> list[str]:
    return [repr((row.job, row.status, row.loss, row.curve)) for row in Run(str(run)).results()]


def files(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "results").iterdir())


@pytest.fixture
def scattered(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of 20 jobs in 20 files, as a search leaves it that is killed before each of its compactions."""
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    with monkeypatch.context() as patch:
        patch.setattr(Compactor, "want", lambda self: None)
        arguments = ("--output", tmp_path, "--run-id", "run", "--set", "budget.jobs=20")
        assert command("search", tmp_path / "small.yaml", *arguments).code == 0
    assert len(files(tmp_path / "run")) == 20
    return tmp_path / "run"


def test_it_merges_the_files_says_so_and_changes_no_row(scattered: Path, command: Command):
    before = rows(scattered)
    answer = command("compact", scattered)
    assert (0, "") == (answer.code, answer.err)
    assert answer.out == f"{scattered}/results: 2 files written, {2 * FAN} removed, 6 there now\n"
    assert len(files(scattered)) == 6
    assert before == rows(scattered)
    assert command("compact", scattered).out == f"{scattered}/results: 0 files written, 0 removed, 6 there now\n"


def test_a_compacted_run_is_continued_as_if_nothing_had_been(scattered: Path, tmp_path: Path, command: Command):
    search = ("search", tmp_path / "small.yaml", "--output", tmp_path, "--run-id")
    assert command("compact", scattered).code == 0
    assert command(*search, "run").code == 0
    assert command(*search, "whole").code == 0
    assert rows(tmp_path / "whole") == rows(scattered)
    assert len(rows(scattered)) == 22


def test_what_killed_attempts_have_left_is_removed_unless_a_driver_holds_the_run(scattered: Path, command: Command):
    commit = next((scattered / "checkpoints").rglob("commit.json"))
    left = [commit.with_name(name) for name in ("recovery.pt", f".commit.json.new.{'0123' * 8}")]
    of_a_worker = scattered / f"checkpoints/000099/0/.commit.json.new.{'4567' * 8}"  # which its driver has not outlived
    of_a_worker.parent.mkdir(parents=True)
    for path in (*left, of_a_worker):
        path.touch()
    with Lease(LocalFiles(scattered)):
        answer = command("compact", scattered)
    assert answer.out.splitlines()[1].startswith(f"{scattered}/checkpoints: left alone, process ")
    assert all(path.exists() for path in left)
    answer = command("compact", scattered)
    assert answer.out.splitlines()[1] == f"{scattered}: 2 files that killed processes left removed"
    assert not any(path.exists() for path in left)
    assert (commit.exists(), of_a_worker.exists()) == (True, True)


def test_a_damaged_file_is_named_and_nothing_of_it_removed(scattered: Path, command: Command):
    victim = scattered / "results/part-00000003.parquet"
    victim.write_bytes(victim.read_bytes()[:-9])
    before = files(scattered)
    answer = command("compact", scattered)
    assert answer.code == 2
    assert "part-00000003.parquet is not a results part" in answer.complaint
    assert before == files(scattered)
