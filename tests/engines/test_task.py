"""A job's edge: commits, failures, time limits."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.simulated import MemoryStore
from spark_nas.engines.task import JobWorkspace, describe, run_job
from spark_nas.errors import DataError, OptionError, StoreUnavailable
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import CurvePoint, Job, JobKey, Outcome, Result
from spark_nas.search.wire import result_from_json, result_to_json
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


@dataclass
class Raises:
    """Raises what it is given, or returns it."""

    what: object

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if isinstance(self.what, BaseException):
            raise self.what
        return self.what  # type: ignore[return-value]


def caused(error: Exception, cause: BaseException) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.ESTALE, "Stale file handle"),
        ConnectionResetError(),
        TimeoutError(errno.ETIMEDOUT, "timed out"),
        TimeoutError("timed out"),
        StoreUnavailable("the store does not answer"),
        caused(DataError("part-3 cannot be read"), OSError(errno.EIO, "Input/output error")),
    ],
    ids=str,
)
def test_what_a_disk_or_a_network_did_loses_the_job(error: Exception):
    assert run_job(job(1), Raises(error), place=PLACE).status == "lost"


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file or directory"),
        OSError("AWS Error ACCESS_DENIED during HeadObject operation: No response body."),
        PermissionError(errno.EACCES, "Permission denied"),
        DataError("part-3 is corrupt"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
    ids=str,
)
def test_what_another_attempt_would_meet_again_fails_the_job(error: Exception):
    assert run_job(job(1), Raises(error), place=PLACE).status == "failed"


def test_an_error_that_is_its_own_cause_is_told_all_the_same():
    error = ValueError("round and round")
    error.__cause__ = error
    assert run_job(job(1), Raises(error), place=PLACE).status == "failed"


def test_a_panic_of_native_code_is_a_failed_job():
    class PanicException(BaseException):
        """What Rust extensions raise."""

    result = run_job(job(1), Raises(PanicException("index out of bounds")), place=PLACE)
    assert (result.status, str(result.error).splitlines()[0]) == ("failed", "PanicException: index out of bounds")


def test_an_error_that_cannot_say_what_it_is_is_a_failed_job():
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text either")

    assert describe(Unprintable()).splitlines()[0] == "Unprintable"
    assert run_job(job(1), Raises(Unprintable()), place=PLACE).status == "failed"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        0.5,
        Outcome("low"),  # type: ignore[arg-type]
        Outcome(0.5, {"accuracy": "high"}),  # type: ignore[dict-item]
        Outcome(0.5, {}, (CurvePoint("first", 0.5),)),  # type: ignore[arg-type]
        Outcome(0.5, derived=("abc",)),  # type: ignore[arg-type]
    ],
    ids=str,
)
def test_an_outcome_that_is_none_is_a_failed_job(answer: object):
    result = run_job(job(1), Raises(answer), MemoryStore(), place=PLACE)
    assert result.status == "failed"


def test_numbers_of_numpy_travel():
    import numpy as np

    point = CurvePoint(np.int64(3), np.float32(0.5), {"a": np.float64(1)})  # type: ignore[arg-type]
    result = run_job(job(1), Raises(Outcome(np.float32(0.5), {"b": np.int64(2)}, (point,))), place=PLACE)  # type: ignore[arg-type]
    assert result_from_json(result_to_json(result)) == result


def test_a_checkpoint_is_bytes():
    class Wrong:
        def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
            workspace.save("text")  # type: ignore[arg-type]
            return Outcome(0.5)

    assert "TypeError: a checkpoint is bytes, not str" in str(run_job(job(1), Wrong(), place=PLACE).error)


class Clock:
    """A time that only the test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class SlowStore(MemoryStore):
    """Takes 30 seconds to keep something, or does not take it at all."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock, self.full, self.writes = clock, False, 0

    def keep(self, key: JobKey, state: bytes) -> None:
        self.clock.now += 30
        self.writes += 1
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().keep(key, state)


def workspace(store: MemoryStore, clock: Callable[[], float], seconds: float | None = 60.0) -> JobWorkspace:
    return JobWorkspace(job(1), store, Limits(checkpoint_seconds=seconds), PLACE, clock)


def test_a_recovery_checkpoint_is_written_when_the_interval_has_passed_since_the_last_was_done():
    clock = Clock()
    store = SlowStore(clock)
    here = workspace(store, clock)
    kept = []
    for now in (0, 59, 60, 149, 150, 151):
        clock.now = max(clock.now, now)
        here.keep(lambda: str(clock.now).encode())
        kept.append(store.kept(job(1).key))
    assert kept == [None, None, b"60", b"60", b"150", b"150"]
    assert workspace(store, clock).recover() == b"150"


@pytest.mark.parametrize("seconds", [None, 0.0])
def test_without_an_interval_nothing_is_kept_or_recovered_and_with_none_everything_is(seconds: float | None):
    clock, store = Clock(), MemoryStore()
    store.keep(job(1).key, b"of somebody")
    here = workspace(store, clock, seconds)
    assert here.recover() == (None if seconds is None else b"of somebody")
    here.keep(lambda: b"mine")
    assert store.kept(job(1).key) == (b"of somebody" if seconds is None else b"mine")


def test_a_store_that_takes_no_recovery_checkpoint_is_asked_again_an_interval_later(caplog: pytest.LogCaptureFixture):
    clock = Clock()
    store = SlowStore(clock)
    store.full = True
    here = workspace(store, clock)
    clock.now = 60
    here.keep(lambda: b"state")
    assert "no recovery checkpoint of job (1, 0) this time" in caplog.text
    clock.now = 149
    here.keep(lambda: b"state")
    store.full = False
    assert (store.writes, store.kept(job(1).key)) == (1, None)
    clock.now = 150
    here.keep(lambda: b"state")
    assert store.kept(job(1).key) == b"state"


def test_a_store_that_cannot_be_asked_for_a_recovery_checkpoint_loses_the_job():
    class Recovering:
        def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
            workspace.recover()
            return Outcome(0.5)

    class Away(MemoryStore):
        def kept(self, key: JobKey) -> bytes | None:
            raise OSError("no route to host")

    assert run_job(job(1), Recovering(), Away(), Limits(checkpoint_seconds=60), place=PLACE).status == "lost"
