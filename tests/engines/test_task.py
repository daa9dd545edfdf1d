"""A job's edge: commits, failures, time limits."""

from __future__ import annotations

import math

import pytest

from spark_nas.engines.gpu import Place
from spark_nas.engines.simulated import MemoryStore
from spark_nas.engines.task import Limits, run_job
from spark_nas.errors import OptionError
from spark_nas.search.records import JobKey, Result
from tests.engines.probes import Probe, job

PLACE = Place(threads=3)


class UnreachableStore(MemoryStore):
    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        raise OSError("no route to host")


def test_a_job_that_finds_its_commit_is_not_trained_again():
    store, probe = MemoryStore(), Probe()
    first = run_job(job(1), probe, store, place=PLACE)
    assert (run_job(job(1), probe, store, attempt=2, place=PLACE), probe.evaluations) == (first, 1)


def test_a_commit_of_another_experiment_is_refused():
    store = MemoryStore()
    run_job(job(1), Probe(), store, place=PLACE)
    other = run_job(job(1, what="memory"), Probe(), store, place=PLACE)
    assert (other.status, "another experiment" in str(other.error)) == ("failed", True)


def test_a_job_goes_on_from_the_checkpoint_it_names():
    store = MemoryStore()
    results = [run_job(job(1, rung), Probe(), store, place=PLACE) for rung in range(3)]
    assert [r.metrics["trained"] for r in results] == [1, 4, 13]


def test_a_missing_checkpoint_fails_the_job():
    result = run_job(job(1, 1), Probe(), MemoryStore(), place=PLACE)
    assert (result.status, str(result.error).splitlines()[0]) == ("failed", "JobError: job (1, 0) left no checkpoint")


@pytest.mark.parametrize(
    ("what", "reason"),
    [("raise", "ValueError: no such thing"), ("memory", "MemoryError"), ("exit", "SystemExit: 3")],
)
def test_whatever_a_job_raises_becomes_its_first_line(what: str, reason: str):
    result = run_job(job(1, what=what), Probe(), place=PLACE)
    lines = str(result.error).splitlines()
    assert (result.status, lines[0], lines[1]) == ("failed", reason, "Traceback (most recent call last):")
    assert math.isnan(result.loss)


def test_a_failed_job_is_not_committed():
    store = MemoryStore()
    run_job(job(1, what="raise"), Probe(), store, place=PLACE)
    assert store.committed(JobKey(1, 0)) is None


def test_an_error_has_a_bounded_length():
    class Loud:
        def evaluate(self, job: object, workspace: object) -> None:
            raise ValueError("x" * 100_000)

    error = run_job(job(1), Loud(), place=PLACE).error
    assert len(str(error)) < 5000


def test_a_time_limit_ends_the_job():
    result = run_job(job(1, what="forever"), Probe(), limits=Limits(seconds=0.05), place=PLACE)
    assert str(result.error).splitlines()[0] == "TimeLimitExceeded: ran longer than its time limit of 0.05 s"


def test_a_store_out_of_reach_loses_the_job_but_does_not_fail_it():
    result = run_job(job(1), Probe(), UnreachableStore(), place=PLACE)
    assert (result.status, str(result.error).splitlines()[0]) == ("lost", "the store failed: OSError: no route to host")


def test_a_keyboard_interrupt_gets_through():
    class Interrupted:
        def evaluate(self, job: object, workspace: object) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_job(job(1), Interrupted(), place=PLACE)


def test_a_result_says_where_and_when_it_ran():
    result = run_job(job(1), Probe(), attempt=2, place=Place(3, gpu="5"))
    assert (result.attempt, result.executor.rpartition("/")[2], str(result.started_at.tzinfo)) == (2, "gpu-5", "UTC")
    assert result.metrics["threads"] == 3


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_time_limit_must_be_positive(seconds: float):
    with pytest.raises(OptionError, match="time_limit"):
        Limits(seconds)
