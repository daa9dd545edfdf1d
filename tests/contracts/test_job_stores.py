"""The laws of `protocols.JobStore`, held by every store."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from spark_nas.engines.simulated import MemoryStore
from spark_nas.errors import JobError
from spark_nas.search.protocols import JobStore
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.locations import open_files

KEY = JobKey(3, 1)
RESULT = Result(Job(Trial(3, Architecture({"a": "x"}), {"lr": 0.1}), 1, 9), "completed", loss=0.25)

Attempt = Callable[[], JobStore]
"""The same store, as another process sees it."""


@pytest.fixture(params=["memory", "local", "s3"])
def attempt(request: pytest.FixtureRequest, tmp_path: Path) -> Attempt:
    if request.param == "memory":
        store = MemoryStore()
        return lambda: store
    location = request.getfixturevalue("s3").prefix() if request.param == "s3" else str(tmp_path)
    pickled = pickle.dumps(CommittedJobs(open_files(location)))
    return lambda: pickle.loads(pickled)


def test_nothing_is_there_at_first(attempt: Attempt) -> None:
    store = attempt()
    assert (store.committed(KEY), store.kept(KEY)) == (None, None)
    with pytest.raises(JobError, match=r"\(3, 1\)"):
        store.checkpoint(KEY)


def test_the_first_commit_wins_with_its_checkpoint(attempt: Attempt) -> None:
    assert attempt().commit(RESULT, b"first") == RESULT
    assert attempt().commit(replace(RESULT, loss=0.5, attempt=2), b"second") == RESULT
    assert (attempt().committed(KEY), attempt().checkpoint(KEY)) == (RESULT, b"first")


def test_of_many_at_once_one_wins_and_all_are_told_which(attempt: Attempt) -> None:
    winners: list[Result] = []

    def race(number: int) -> None:
        winners.append(attempt().commit(replace(RESULT, loss=float(number)), str(float(number)).encode()))

    threads = [Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = {result.loss for result in winners}
    assert len(winners) == 8
    assert attempt().checkpoint(KEY) == str(winner).encode()


def test_what_is_kept_is_the_last_until_the_commit(attempt: Attempt) -> None:
    first, second = attempt(), attempt()
    first.keep(KEY, b"epoch 1")
    first.keep(KEY, b"epoch 2")
    assert (second.kept(KEY), second.kept(JobKey(3, 0))) == (b"epoch 2", None)
    assert second.committed(KEY) is None
    second.commit(RESULT, b"weights")
    assert attempt().kept(KEY) is None
    assert attempt().checkpoint(KEY) == b"weights"


def test_a_failure_may_be_committed_and_leaves_no_checkpoint(attempt: Attempt) -> None:
    failed = Result(RESULT.job, "failed", loss=0.0, error="TimeLimitExceeded: did not stop")
    attempt().commit(failed, None)
    assert attempt().commit(RESULT, b"weights") == failed
    with pytest.raises(JobError, match="no checkpoint"):
        attempt().checkpoint(KEY)
