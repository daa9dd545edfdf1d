"""A job commits once: result and checkpoint together, whichever attempt wins."""

from __future__ import annotations

import os
from collections.abc import Callable
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


def test_a_recovery_checkpoint_is_replaced_until_the_job_is_committed(tmp_path: Path) -> None:
    jobs, elsewhere = CommittedJobs(LocalFiles(tmp_path)), CommittedJobs(LocalFiles(tmp_path))
    assert jobs.kept(KEY) is None
    jobs.keep(KEY, b"epoch 1")
    jobs.keep(KEY, b"epoch 2")
    assert elsewhere.kept(KEY) == b"epoch 2"
    elsewhere.commit(RESULT, b"weights")
    assert (jobs.kept(KEY), jobs.checkpoint(KEY)) == (None, b"weights")
    assert len(list((tmp_path / "checkpoints/000003/1").iterdir())) == 2


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b"X" + b[1:], lambda b: b"", lambda b: b[:40]], ids=range(4)
)
def test_a_damaged_recovery_checkpoint_is_none_and_goes_at_the_commit(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    jobs.keep(KEY, b"epoch 1")
    path = tmp_path / "checkpoints/000003/1/recovery.pt"
    path.write_bytes(damage(path.read_bytes()))
    again = CommittedJobs(LocalFiles(tmp_path))
    assert again.kept(KEY) is None
    again.commit(RESULT, None)
    assert not path.exists()


class Repeating(LocalFiles):
    """A network that loses the answer to a conditional write, so that the client sends it again."""

    def write_new(self, name: str, content: bytes) -> bool:
        super().write_new(name, content)
        return super().write_new(name, content)


def test_a_commit_whose_answer_was_lost_keeps_its_checkpoint(tmp_path: Path) -> None:
    jobs = CommittedJobs(Repeating(tmp_path))
    assert jobs.commit(RESULT, b"weights") == RESULT
    assert jobs.checkpoint(KEY) == b"weights"


class Undeletable(LocalFiles):
    """Takes everything, removes nothing."""

    def delete(self, name: str) -> None:
        raise OSError("no route to host")


def test_what_cannot_be_removed_after_a_commit_does_not_undo_it(tmp_path: Path) -> None:
    jobs = CommittedJobs(Undeletable(tmp_path))
    jobs.keep(KEY, b"epoch 1")
    assert jobs.commit(RESULT, b"first") == RESULT
    assert jobs.commit(replace(RESULT, loss=0.5), b"second") == RESULT
    assert jobs.checkpoint(KEY) == b"first"


def test_a_result_that_is_no_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    odd = replace(RESULT, environment={"gpu": {1, 2}})  # type: ignore[dict-item]
    with pytest.raises(JobError, match=r"result of job \(3, 1\) cannot be written"):
        CommittedJobs(LocalFiles(tmp_path)).commit(odd, b"weights")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_commit_is_named(tmp_path: Path) -> None:
    jobs = CommittedJobs(LocalFiles(tmp_path))
    jobs.commit(RESULT, None)
    (tmp_path / "checkpoints/000003/1/commit.json").write_bytes(b'{"result": ')
    with pytest.raises(JobError, match=r"commit\.json"):
        jobs.committed(KEY)


@pytest.mark.parametrize(("checkpoint", "waits"), [(None, 2), (b"weights", 3)])
def test_a_commit_waits_for_the_disk_no_more_often_than_it_must(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: bytes | None, waits: int
) -> None:
    """For the content of each file, and once for their names."""
    synced: list[str] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(os.readlink(f"/proc/self/fd/{file}")), fsync(file)))
    CommittedJobs(LocalFiles(tmp_path)).commit(RESULT, checkpoint)
    folder = str(tmp_path / "checkpoints/000003/1")
    assert (len(synced), synced[-1], synced.count(folder)) == (waits, folder, 1)
    assert len([path for path in Path(folder).iterdir() if path.name.startswith(".")]) == 0
