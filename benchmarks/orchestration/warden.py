"""Runs a command and everything it starts to the very end: counts their processor time, and leaves none behind.

A process of its own for each run, because what it counts is what its children and theirs have used. Orphans become its
children (Linux's sub-reaper), so that daemons a contestant detaches are counted, waited for and killed like the rest.

    python -m benchmarks.orchestration.warden SECONDS COMMAND...      one line of JSON on the standard output
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_PATIENCE = 5.0
"""Seconds that what a contestant has started may outlive it, before it counts as left behind and is killed."""
_POLL = 0.02


def run(command: list[str], seconds: float) -> dict[str, object]:
    """Run a command; kill it and all its descendants after `seconds`.

    Returns its exit code (None when it was killed), when it was started (monotonic seconds), the wall and processor
    seconds of the whole tree, and how many processes had to be killed after the command itself had ended.
    """
    began = time.monotonic()
    main = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    code: int | None = None
    with contextlib.suppress(subprocess.TimeoutExpired):
        code = main.wait(seconds)
    wall = time.monotonic() - began
    left = _end_all(patience=_PATIENCE if code is not None else 0.0)
    main.poll()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    return {"code": code, "spawned": began, "wall": wall, "cpu": cpu, "left_behind": left}


def prepare() -> None:
    """Take in orphans; when the harness dies, or wants this to end, kill what runs and go."""
    signal.signal(signal.SIGTERM, _give_up)
    with contextlib.suppress(AttributeError):  # elsewhere than on Linux orphans are not counted
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _give_up(number: int, frame: object) -> None:
    _end_all(patience=0.0)
    os._exit(128 + number)


def _end_all(patience: float) -> int:
    """Wait until every descendant has ended, killing those that outlive `patience` seconds; returns how many did."""
    until, killed = time.monotonic() + patience, set[int]()
    while _reap():
        if time.monotonic() >= until:
            for pid in descendants():
                killed.add(pid)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL)
    return len(killed)


def _reap() -> bool:
    """Collect children that have ended; whether any is left."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return True
        except ChildProcessError:
            return False


def descendants() -> list[int]:
    """All living processes below this one, by the system's table."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    parents[int(entry.name)] = int(parent)
    found, ring = set[int](), {os.getpid()}
    while ring := {pid for pid, parent in parents.items() if parent in ring} - found:
        found |= ring
    return sorted(found)


if __name__ == "__main__":
    # What the command prints is for people: the one line here is for the harness.
    channel = os.dup(1)
    os.dup2(2, 1)
    prepare()
    os.write(channel, json.dumps(run(sys.argv[2:], float(sys.argv[1]))).encode() + b"\n")
