"""What a sweep makes of files that somebody is writing, or has begun to write and died."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from spark_nas.search.records import Architecture, Job, JobKey, Result, Trial
from spark_nas.storage.disk import is_temporary
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.garbage import sweep, sweep_all
from spark_nas.storage.jobs import CommittedJobs

KEY = JobKey(3, 1)
RESULT = Result(Job(Trial(3, Architecture()), 1, 9), "completed", loss=0.25)
FOLDER = "checkpoints/000003/1"
ONE, TWO = "1" * 32, "2" * 32


def aged(path: Path, seconds: float) -> Path:
    """A file that was written to so long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"begun")
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_worker_between_writing_and_linking_finds_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease was misjudged: the run is swept at the moment at which the job commits."""
    files, link, swept = LocalFiles(tmp_path), os.link, list[int]()

    def sweep_then_link(temporary: Path, path: Path) -> None:
        swept.append(sweep_all(files))
        link(temporary, path)

    monkeypatch.setattr(os, "link", sweep_then_link)
    assert CommittedJobs(files).commit(RESULT, b"weights") == RESULT
    assert (swept, CommittedJobs(files).checkpoint(KEY)) == ([0], b"weights")


def test_what_was_begun_an_hour_ago_without_a_commit_is_nobodys(tmp_path: Path) -> None:
    folder = tmp_path / FOLDER
    young, old = aged(folder / f".commit.json.new.{ONE}", 3000), aged(folder / f".commit.json.new.{TWO}", 4000)
    assert sweep_all(LocalFiles(tmp_path)) == 1
    assert (young.exists(), old.exists()) == (True, False)
    assert sweep(LocalFiles(tmp_path), KEY, keep_checkpoint=False) == 1  # it has its row
    assert not young.exists()


def test_it_goes_from_the_folder_of_the_run_and_from_its_results_too(tmp_path: Path) -> None:
    begun = [f"results/.part-00000007.parquet.{ONE}", f".run.json.new.{TWO}"]
    young = aged(tmp_path / f"results/.part-00000008.parquet.{ONE}", 3000)
    of_others = [aged(tmp_path / name, 4000) for name in ("results/.nfs0000000001", ".gitignore", f"notes.{ONE}")]
    for name in begun:
        aged(tmp_path / name, 4000)
    assert sweep_all(LocalFiles(tmp_path)) == 2
    assert all(path.exists() for path in (young, *of_others))
    assert not any((tmp_path / name).exists() for name in begun)


def test_what_a_killed_writer_leaves_is_known_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever writes: the names that it leaves behind when it ends at once are those that are swept."""

    def killed(*_: object) -> None:
        raise SystemExit

    for call in ("link", "replace"):
        monkeypatch.setattr(os, call, killed)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)
    for write in (LocalFiles(tmp_path).write, LocalFiles(tmp_path).write_new):
        with pytest.raises(SystemExit):
            write("run.json", b"{}")
    left = list(tmp_path.iterdir())
    assert 2 == len(left) == len(list(filter(is_temporary, left)))
