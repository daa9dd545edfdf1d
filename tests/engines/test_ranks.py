"""Laws of the processes that run one job: what the first finds, commits and says holds for all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from spark_nas.engines.limits import Limits
from spark_nas.engines.ranks import Silent, place_of_rank, run_rank
from spark_nas.engines.spark_distributed import shipped
from spark_nas.engines.worker import Payload
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.search.wire import job_to_json, result_from_json
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.together import Together, supernet
from tests.evaluation.pair import Pair, pair

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with pair() as running:
        yield running


def run(
    two: Pair, store: CommittedJobs | None, evaluator: Together, job: Job | None = None, rank: int = 0
) -> tuple[Result, str]:
    """The leader's result, and what the follower returned; this process is `rank`."""
    payload = Payload.pack(evaluator, store, Limits(60.0, checkpoint_seconds=0.0), False)
    answers = two.launch(run_rank, payload.pickled, job_to_json(job or supernet()), 3, 2, rank=rank)
    return result_from_json(answers[rank]), answers[1 - rank]


@pytest.fixture
def store(tmp_path: Path) -> CommittedJobs:
    return CommittedJobs(LocalFiles(tmp_path))


def test_the_leader_commits_what_all_have_made(two: Pair, store: CommittedJobs) -> None:
    result, other = run(two, store, Together())
    assert (result.status, result.loss, result.attempt, result.metrics["threads"]) == ("completed", 11.0, 3, 2.0)
    assert other == ""
    assert store.committed(supernet().key) == result
    assert store.checkpoint(supernet().key) == b"11"
    assert store.kept(supernet().key) is None  # removed at the commit


def test_a_committed_job_is_found_by_all_and_trained_by_none(two: Pair, store: CommittedJobs) -> None:
    first, _ = run(two, store, Together())
    again, other = run(two, store, Together("forever"))
    assert (again, other) == (first, "")


@pytest.mark.parametrize("what", ["sum", "leader raises", "follower raises"])
def test_the_follower_returns_nothing_whatever_came_of_it(two: Pair, store: CommittedJobs, what: str) -> None:
    result, mine = run(two, store, Together(what), rank=1)
    assert mine == ""
    assert result.status == ("completed" if what == "sum" else "failed")
    again, mine = run(two, store, Together(), rank=1)
    assert (again.status, mine) == ("completed", "")
    assert (again == result) == (what == "sum")  # found, and not trained again


def test_what_a_job_starts_from_is_read_by_the_leader_for_all(two: Pair, store: CommittedJobs) -> None:
    run(two, store, Together())
    above = Job(supernet().trial, 1, 4, supernet().key)
    result, _ = run(two, store, Together(), above)
    assert result.status == "completed"
    assert store.checkpoint(above.key) == b"1111"


def test_a_job_that_a_follower_fails_has_failed_by_its_reason(two: Pair, store: CommittedJobs) -> None:
    result, other = run(two, store, Together("follower raises"))
    assert result.status == "failed"
    assert str(result.error).startswith("in process 1 of 2: ValueError: this share is too large\n")
    assert (other, store.committed(supernet().key)) == ("", None)


def test_a_follower_whose_network_is_down_loses_the_job_and_does_not_fail_it(two: Pair, store: CommittedJobs) -> None:
    result, _ = run(two, store, Together("follower finds the network down"))
    assert result.status == "lost"
    assert "another process of this job is gone" in str(result.error)


def test_a_job_that_the_leader_fails_has_failed_by_its_reason(two: Pair) -> None:
    result, other = run(two, None, Together("leader raises"))
    assert (result.status, str(result.error).splitlines()[0], other) == ("failed", "ValueError: no leader", "")


def test_processes_without_the_gpu_that_is_required_meet_all_the_same(two: Pair) -> None:
    payload = Payload.pack(Together(), None, Limits(), True)
    mine, _ = two.launch(run_rank, payload.pickled, job_to_json(supernet()), 1, 1)
    result = result_from_json(mine)
    assert (result.status, result.environment["device"]) == (
        "completed",
        "none",
    )  # the job fails where it asks for its device


@pytest.mark.parametrize(("visible", "gpu"), [("4,5", "1"), ("", None), (None, None)])
def test_a_process_takes_the_gpu_of_its_number_among_its_tasks(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, gpu: str | None
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    place = place_of_rank(3, True)
    assert (place.threads, place.gpu, place.required) == (3, gpu, True)


def test_a_follower_reads_and_writes_nothing() -> None:
    store, key = Silent(), JobKey(0, 0)
    store.keep(key, b"state")
    result = Result(Job(Trial(0, Architecture()), 0, 1), "failed", error="none")
    assert store.commit(result, b"checkpoint") is result
    assert (store.committed(key), store.checkpoint(key), store.origin(key), store.kept(key)) == (None, b"", "", None)


def test_files_that_were_shipped_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped.zip").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["before"])
    rank = shipped(["./shipped.zip", "./elsewhere.zip"])
    with pytest.raises(TypeError):  # called without arguments, it gets as far as `run_rank`
        rank()
    assert sys.path == [str(tmp_path / "shipped.zip"), "before"]
