"""Kills drivers, executors and Python workers with SIGKILL at random moments, and runs the driver again until it ends.

Who dies next, and after how long, follows a seed; what they are at by then does not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from spark_nas.search.records import JobKey

REPOSITORY = Path(__file__).resolve().parents[2]
KINDS = ("driver", "executor", "worker")
_WORKER, _EXECUTOR = "pyspark.daemon", "CoarseGrainedExecutorBackend"
_ONCE_SECONDS = 240.0
_MOST_STARTS = 25


def victims(seed: int, run: int, kills: int) -> list[str]:
    """Whom to kill in one run of several, going on where the run before has ended: three kills are of three kinds.

    The order of each three follows the seed.
    """
    rng, order = Random(seed), list[str]()
    while len(order) < (run + 1) * kills:
        order += rng.sample(KINDS, len(KINDS))
    return order[run * kills : (run + 1) * kills]


@dataclass
class Story:
    """What happened to one run."""

    killed: Counter[str] = field(default_factory=Counter)
    exits: list[int] = field(default_factory=list)
    """Exit codes of the driver, in order; -9 for a killed one."""
    seconds: float = 0.0
    said: str = ""
    """Standard error of the last driver."""


@dataclass(frozen=True)
class Monkey:
    """Torments the runs of one experiment."""

    experiment: Path
    output: str
    trace: Path
    """A folder for the traces of what was trained."""
    environment: Mapping[str, str]
    job_seconds: float = 0.2
    pause: float = 3.0
    """Seconds between two kills at the most; about half of it as a rule."""

    def torment(self, run_id: str, seed: int, *, kinds: Sequence[str]) -> Story:
        """Run until the driver ends by itself with exit code 0, killing one of each of `kinds` on the way, in order.

        Raises AssertionError when it does not end, or ends with a code that asks for no retry.
        """
        rng, story, began = Random(seed), Story(), time.monotonic()
        trace = self.trace / run_id
        trace.mkdir()
        while not story.exits or story.exits[-1] != 0:
            assert len(story.exits) < _MOST_STARTS, f"no end after {story}"
            driver = self._start(run_id, trace)
            try:
                self._watch(driver, rng, story, kinds)
                _, story.said = driver.communicate(timeout=_ONCE_SECONDS)
            finally:
                _end(driver)
            story.exits.append(driver.returncode)
            assert driver.returncode in (0, 75, -9), f"exit code {driver.returncode}: {story.said[-3000:]}"
        story.seconds = time.monotonic() - began
        return story

    def _start(self, run_id: str, trace: Path) -> subprocess.Popen[str]:
        words = [str(self.experiment), self.output, run_id, str(trace)]
        path = os.pathsep.join([str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.driver", *words],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": path, "CHAOS_SECONDS": str(self.job_seconds), **self.environment},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _watch(self, driver: subprocess.Popen[str], rng: Random, story: Story, kinds: Sequence[str]) -> None:
        """Kill something, now and then, until the driver is dead or enough was killed."""
        before = len(traced(self.trace))
        while driver.poll() is None and story.killed.total() < len(kinds):
            patience, pause = time.monotonic() + 30, min(self.pause, rng.expovariate(2.1 / self.pause))
            while len(traced(self.trace)) == before and driver.poll() is None and time.monotonic() < patience:
                time.sleep(0.05)  # Spark takes its time to start, and a monkey that kills only that learns nothing
            try:
                driver.wait(pause)
            except subprocess.TimeoutExpired:
                kind = kinds[story.killed.total()]
                if found := _found(kind, driver):  # else what was killed before it is about to be replaced
                    _kill_now(rng.choice(found))
                    story.killed[kind] += 1


def _found(kind: str, driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """All of a kind that live now."""
    if kind == "driver":
        return [psutil.Process(driver.pid)]
    if kind == "executor":
        return _executors()
    # An executor's daemon, or one of the Python workers it has forked.
    return [child for executor in _executors() for child in _family(executor) if _WORKER in _words(child)]


def _executors() -> list[psutil.Process]:
    """Of a cluster that this process has started."""
    return [process for process in _family(psutil.Process()) if _EXECUTOR in _words(process)]


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def _session(process: psutil.Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:  # it has ended, or is none of ours
        return None


def _kill_now(process: psutil.Process) -> None:
    """SIGKILL; no error when it has just ended by itself."""
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return


def traced(folder: Path) -> list[tuple[str, JobKey]]:
    """What all processes have written below a folder, in no particular order between processes."""
    lines = [line.split() for file in folder.rglob("*.trace") for line in file.read_text().splitlines()]
    return [(what, JobKey(int(trial), int(rung))) for what, trial, rung, _ in lines]


def _words(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return ""


def _end(driver: subprocess.Popen[str]) -> None:
    """The driver and all that it started, also its JVM; the driver may be dead, the session that it led outlives it."""
    if driver.poll() is None:
        driver.kill()
    driver.wait()
    family = [process for process in psutil.process_iter() if _session(process) == driver.pid]
    for pipe in (driver.stdout, driver.stderr):
        if pipe is not None:
            pipe.close()
    psutil.wait_procs(family, timeout=10)
    for process in family:
        _kill_now(process)
