"""Jobs that hang or die in a process of their own, whose arguments are HOW, the store's folder, and its KIND."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import sys
import threading
import time
from pathlib import Path

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import CurvePoint, Job, JobKey, Outcome, Result, Trial
from spark_nas.search.wire import result_to_json
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs

HANGS = Limits(seconds=0.3, grace=3)
"""Between the watchdog and the kernel's timer there is time for a commit, however slow the disk."""
LIMITS = {
    **dict.fromkeys(("in native code with the lock", "in a regular expression"), Limits(seconds=3, grace=0.3)),
    "quick": Limits(seconds=5, grace=5),
    "looking at the time": Limits(seconds=0.3, grace=60),
    **dict.fromkeys(("segfault", "real segfault", "killed", "out of memory"), Limits(seconds=60)),
}
MEMORY = 2**29


def job(how: str) -> Job:
    """The job that hangs, or dies, in this way."""
    return Job(Trial(3, Architecture({"how": how})), 0, 1)


class Hanging:
    """Stops in the way its architecture names; `quick` does not, and tells how far off the kernel's timer is."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        how = job.trial.architecture["how"]
        workspace.report(CurvePoint(1, 0.25))
        workspace.save(b"weights" * 1000)
        if how == "asleep":
            time.sleep(600)
        if how == "in a python loop":
            while True:
                pass
        if how == "in a system call":
            os.read(os.pipe()[0], 1)
        if how == "in native code with the lock":
            ctypes.PyDLL(None).sleep(600)
        if how == "in a regular expression":
            re.match(r"(a+)+$", "a" * 64 + "b")
        if how == "looking at the time":
            while True:
                time.sleep(0.01)
                workspace.check_time()
        if how == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if how == "real segfault":
            ctypes.string_at(8)
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "out of memory":
            blocks = []
            while True:
                blocks.append(bytearray(2**24))
        return Outcome(0.5, {"alarm": signal.getitimer(signal.ITIMER_REAL)[0]})


class Unreachable(CommittedJobs):
    """A store that takes nothing."""

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        raise OSError("no route to host")


def main() -> None:
    """Run the job as a Spark worker would, print its result, and stay for as long as a watchdog may bite."""
    how, where, kind = sys.argv[1:4]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if how == "out of memory":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    if kind == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
    if kind == "own alarm":
        signal.signal(signal.SIGALRM, signal.default_int_handler)
    files = LocalFiles(Path(where))
    store = {"none": None, "unreachable": Unreachable(files)}.get(kind, CommittedJobs(files))
    result = run_job(job(how), Hanging(), store, LIMITS.get(how, HANGS), place=Place(1), expendable=kind != "driver")
    print(result_to_json(result), flush=True)
    if how == "quick":
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join()
        assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


KEY = JobKey(3, 0)
