"""A job that hangs or dies takes at most its own process with it: real processes, real signals."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.engines.watchdog import in_spark_worker
from spark_nas.errors import OptionError
from spark_nas.search.records import CurvePoint, Result
from spark_nas.search.wire import result_from_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.hung import KEY, Hanging, job

REPOSITORY = Path(__file__).resolve().parents[2]


def begun(how: str, store: Path, kind: str = "local") -> subprocess.Popen[str]:
    """The job in a process of its own."""
    command = [sys.executable, "-c", "from tests.engines.hung import main; main()", how, str(store), kind]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def run(how: str, store: Path, kind: str = "local") -> subprocess.CompletedProcess[str]:
    process = begun(how, store, kind)
    try:
        return ended(process)
    finally:
        process.kill()


def printed(done: subprocess.CompletedProcess[str]) -> Result:
    assert done.returncode == 0, done.stderr
    return result_from_json(done.stdout)


AWAKE = ("asleep", "in a python loop", "in a system call")
DEAF = ("in native code with the lock", "in a regular expression")
HUNG = [*((how, "local") for how in AWAKE + DEAF), ("asleep", "none"), ("asleep", "unreachable")]


class Hung(NamedTuple):
    """What became of a job that hung, and its store."""

    done: subprocess.CompletedProcess[str]
    store: Path


@pytest.fixture(scope="module")
def hung(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Hung]]:
    """`hung("asleep")` waits for the end of a job that hangs: all of them hang at the same time, once."""
    stores = {of: tmp_path_factory.mktemp("hung") for of in HUNG}
    processes = {of: begun(of[0], store, of[1]) for of, store in stores.items()}
    yield cache(lambda how, kind="local": Hung(ended(processes[how, kind]), stores[how, kind]))
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("how", AWAKE)
def test_a_job_that_hangs_is_committed_as_failed_and_its_process_killed(how: str, hung: Callable[..., Hung]) -> None:
    done, store = hung(how)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")
    failed = CommittedJobs(LocalFiles(store)).committed(KEY)
    assert failed is not None
    reason, *stack = str(failed.error).splitlines()
    assert reason == "TimeLimitExceeded: ran longer than its time limit of 0.3 s and did not stop"
    assert "in evaluate" in stack[-2]
    assert failed.curve == (CurvePoint(1, 0.25),)
    assert "most recent call first" in done.stderr


def test_the_next_attempt_finds_the_failure_and_does_not_hang(hung: Callable[..., Hung], tmp_path: Path) -> None:
    shutil.copytree(hung("asleep").store, tmp_path, dirs_exist_ok=True)
    store = CommittedJobs(LocalFiles(tmp_path))
    result = run_job(job("asleep"), Hanging(), store, place=Place(1))
    assert (result.status, result.error) == ("failed", getattr(store.committed(KEY), "error", None))


@pytest.mark.parametrize("how", DEAF)
def test_native_code_that_holds_the_interpreter_lock_is_killed_by_the_kernel(
    how: str, hung: Callable[..., Hung]
) -> None:
    done, store = hung(how)
    assert (done.returncode, done.stdout) == (-signal.SIGALRM, "")
    assert CommittedJobs(LocalFiles(store)).committed(KEY) is None
    assert "hung.py" in done.stderr  # where it stood


@pytest.mark.parametrize("kind", ["none", "unreachable"])
def test_without_a_store_to_tell_the_process_is_killed_all_the_same(kind: str, hung: Callable[..., Hung]) -> None:
    assert hung("asleep", kind).done.returncode == -signal.SIGKILL


def test_a_job_that_looks_at_the_time_fails_by_itself_and_its_process_lives(tmp_path: Path) -> None:
    result = printed(run("looking at the time", tmp_path))
    assert str(result.error).splitlines()[0] == "TimeLimitExceeded: ran longer than its time limit of 0.3 s"
    assert CommittedJobs(LocalFiles(tmp_path)).committed(KEY) is None


def test_the_kernels_timer_is_set_beyond_both_graces_and_nothing_bites_after_a_job_in_time(tmp_path: Path) -> None:
    result = printed(run("quick", tmp_path))
    assert (result.status, 10 < result.metrics["alarm"] <= 15) == ("completed", True)


def test_an_alarm_of_the_programs_own_is_left_alone(tmp_path: Path) -> None:
    assert printed(run("quick", tmp_path, "own alarm")).metrics["alarm"] == 0


def test_in_the_driver_nobody_watches(tmp_path: Path) -> None:
    """`expendable` is what a Spark task is, and this process is none."""
    assert not in_spark_worker()
    assert printed(run("quick", tmp_path, "driver")).metrics["alarm"] == 0


@pytest.mark.parametrize(("seconds", "grace"), [(10.0, 5.0), (50.0, 5.0), (600.0, 60.0)])
def test_the_grace_is_five_seconds_or_a_tenth_of_the_limit(seconds: float, grace: float) -> None:
    assert Limits(seconds).patience == grace


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_an_interval_of_checkpoints_must_not_be_negative(seconds: float) -> None:
    with pytest.raises(OptionError, match="checkpoint_seconds"):
        Limits(checkpoint_seconds=seconds)


@pytest.mark.parametrize(
    ("how", "number"),
    [("segfault", signal.SIGSEGV), ("real segfault", signal.SIGSEGV), ("killed", signal.SIGKILL)],
)
def test_a_process_that_dies_leaves_the_job_open(how: str, number: int, tmp_path: Path) -> None:
    assert run(how, tmp_path).returncode == -number
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_process_without_memory_fails_the_job_and_lives(tmp_path: Path) -> None:
    result = printed(run("out of memory", tmp_path))
    assert (result.status, str(result.error).splitlines()[0]) == ("failed", "MemoryError")


def test_a_full_disk_loses_the_job_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """RLIMIT_FSIZE stops the write of the checkpoint in its middle, as a full disk does."""
    result = printed(run("quick", tmp_path, "full"))
    assert (result.status, "File too large" in str(result.error)) == ("lost", True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert printed(run("quick", tmp_path)).status == "completed"
