"""What a sweep makes of files that somebody is writing, or has begun to write and died."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from spark_nas.search.records import Architecture, Job, JobKey, Result, Trial
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.garbage import sweep, sweep_all
from spark_nas.storage.jobs import CommittedJobs

KEY = JobKey(3, 1)
RESULT = Result(Job(Trial(3, Architecture()), 1, 9), "completed", loss=0.25)
FOLDER = "checkpoints/000003/1"


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
    young, old = aged(folder / ".commit.json.1", 3000), aged(folder / ".commit.json.2", 4000)
    assert sweep_all(LocalFiles(tmp_path)) == 1
    assert (young.exists(), old.exists()) == (True, False)
    assert sweep(LocalFiles(tmp_path), KEY, keep_checkpoint=False) == 1  # it has its row
    assert not young.exists()
