"""A job commits once: result and checkpoint together, whichever attempt wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from spark_nas.errors import JobError
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs

KEY = JobKey(3, 1)
RESULT = Result(Job(Trial(3, Architecture({"a": "x"}), {"lr": 0.1}), 1, 9), "completed", loss=0.25)


def test_a_committed_result_and_its_checkpoint_are_read_back(tmp_path: Path) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    assert jobs.commit(RESULT, b"weights") == RESULT
    assert (jobs.committed(KEY), jobs.checkpoint(KEY)) == (RESULT, b"weights")


def test_the_second_attempt_gets_the_first_ones_result_and_leaves_nothing(tmp_path: Path) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    jobs.commit(RESULT, b"first")
    late = replace(RESULT, loss=0.5, attempt=2)
    assert jobs.commit(late, b"second") == RESULT
    assert jobs.checkpoint(KEY) == b"first"
    assert len(list((tmp_path / "checkpoints/000003/1").iterdir())) == 2


def test_a_checkpoint_without_a_commit_is_invisible(tmp_path: Path) -> None:
    LocalFiles(tmp_path).write("checkpoints/000003/1/abandoned.pt", b"weights")
    jobs = CommittedJobs(LocalFiles(tmp_path))
    assert jobs.committed(KEY) is None
    with pytest.raises(JobError, match=r"\(3, 1\) has left no checkpoint"):
        jobs.checkpoint(KEY)


@pytest.mark.parametrize("damage", [b"weight", b"weightz", b""])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: bytes) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    jobs.commit(RESULT, b"weights")
    (path,) = (tmp_path / "checkpoints/000003/1").glob("*.pt")
    path.write_bytes(damage)
    with pytest.raises(JobError, match="damaged"):
        jobs.checkpoint(KEY)


def test_a_damaged_commit_is_named(tmp_path: Path) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    jobs.commit(RESULT, None)
    (tmp_path / "checkpoints/000003/1/commit.json").write_bytes(b'{"result": ')
    with pytest.raises(JobError, match=r"commit\.json"):
        jobs.committed(KEY)
