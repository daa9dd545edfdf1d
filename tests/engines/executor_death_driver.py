"""The driver program of test_executor_deaths: a search one of whose jobs kills its executor; prints what came of it.

executor_death_driver.py FOLDER
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from spark_nas.driver import run
from spark_nas.engines.pulling import PullingEngine
from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import SUPERNET, Job, Outcome, Proposal, Result
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.wire import result_to_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import ParquetLog

TRIALS = 200
KILLER = 100


class Killer:
    """Short jobs, so that sessions hold several; the first attempt at one of them kills the executor's JVM."""

    def __init__(self, folder: Path) -> None:
        self.mark = str(folder / "killed")

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import os
        import signal
        import time

        def parent(pid: int) -> int:
            with open(f"/proc/{pid}/stat") as stat:
                return int(stat.read().rpartition(")")[2].split()[1])

        jvm = parent(os.getpid())
        while b"CoarseGrainedExecutorBackend" not in open(f"/proc/{jvm}/cmdline", "rb").read():  # noqa: SIM115
            jvm = parent(jvm)
        if job.trial.trial_id == KILLER and not os.path.exists(self.mark):
            with open(self.mark, "w") as mark:
                mark.write(str(jvm))
            os.kill(jvm, signal.SIGKILL)
            time.sleep(600)  # its worker does not come back
        time.sleep(0.002)
        return Outcome(float(job.trial.trial_id), {"jvm": float(jvm)})


class Same:
    """A sampler without choices."""

    def suggest(self) -> Proposal:
        return Proposal(SUPERNET)

    def observe(self, result: Result) -> None:
        pass


def main(folder: Path) -> None:
    """Search to the end, and print the rows, where the channel listens, and a session's latest attempt."""
    session, _ = Session().open()
    engine = SparkAsync(slots=2, channel="on").build(Killer(folder), None, session)
    assert isinstance(engine, PullingEngine)
    for connection in psutil.Process().net_connections("inet"):
        if connection.status == psutil.CONN_LISTEN:
            print("LISTENS", connection.laddr.ip)
    log = ParquetLog(LocalFiles(folder / "run"), "run")
    run(FullTraining(max_resource=1, trials=TRIALS).build(Same(), 1), engine, log)
    deadline = time.monotonic() + 90
    while not any(attempts := list(engine._dispatcher._met.values())) and time.monotonic() < deadline:
        time.sleep(0.1)  # Spark starts an executor in place of the one that is gone, and the session's task again there
    print("ATTEMPT", max(attempts))
    engine.close()
    for result, _ in log.rows():
        print("ROW", result_to_json(result))
    session.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
