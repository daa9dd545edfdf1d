"""A client of Spark Connect, run by test_connect in a process of its own: prints a JSON line for each thing it does.

A process that has a session with a JVM cannot have one of Spark Connect beside it.

    connect_driver.py URL PID_OF_SERVER FOLDER
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.driver import run
from spark_nas.engines import launcher
from spark_nas.engines.profiles import TaskProfile
from spark_nas.engines.session import Session, is_connect, stop_session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import SparkNasError
from spark_nas.search.protocols import Engine, Workspace
from spark_nas.search.records import Job, Outcome
from spark_nas.search.wire import result_to_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.driver_support import MemoryLog
from tests.engines.probes import Probe, job

HYPERBAND: dict[str, Any] = {
    "space": {"name": "mlp", "max_layers": 2},
    "scheduler": {"name": "hyperband", "max_resource": 9},
    "evaluator": "synthetic",
}


class Unloadable(Probe):
    """Needs a module that no executor has."""

    def __reduce__(self) -> tuple[object, ...]:
        return importlib.import_module, ("no_such_module",)


class Origin(Probe):
    """Tells whether executors took spark_nas from a zip."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import spark_nas

        return Outcome(0.0, {"from_zip": ".zip" in str(spark_nas.__file__)})


class Beating(Probe):
    """Runs for ever, says in a file which process it is, and goes on whatever it is asked."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = str(file)

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        Path(self.file).write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)


def hyperband(engine: dict[str, Any], folder: Path) -> list[str]:
    """The results of a whole search, as JSON, in the order of their rows."""
    parts = assemble(parse_experiment({**HYPERBAND, "engine": engine}))
    log = MemoryLog()
    built = parts.engine(CommittedJobs(LocalFiles(folder)))
    try:
        run(parts.scheduler(), built, log)
    finally:
        built.close()
    return [result_to_json(result) for result in log.results]


def statuses(engine: Engine, jobs: list[Job]) -> dict[int, str]:
    """What became of each job."""
    engine.submit(jobs)
    found: dict[int, str] = {}
    while len(found) < len(jobs):
        found |= {r.job.trial.trial_id: r.status for r in engine.wait()}
    engine.close()
    return found


def refusal(call: Callable[[], object]) -> str:
    """What an error of ours says."""
    try:
        call()
    except SparkNasError as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


def started(file: Path) -> int:
    """The process that a `Beating` job runs in, as soon as it runs."""
    while not (file.exists() and file.read_text()):
        time.sleep(0.05)
    return int(file.read_text())


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def ends_within(pid: int, seconds: float) -> bool:
    """Whether the process ends."""
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


def cancelling(session: SparkSession, folder: Path) -> dict[str, Any]:
    """Close an engine with a job at work, beside a query of somebody else's in the same session."""
    theirs, released, ours = folder / "theirs", folder / "released", folder / "ours"
    outcome: list[object] = []

    def their_query() -> None:
        session.addTag("theirs")
        try:
            outcome.append(session.range(0, 1, 1, 1).mapInArrow(_until(theirs, released), "id long").collect()[0][0])
        except Exception as error:
            outcome.append(repr(error))

    thread = threading.Thread(target=their_query)
    thread.start()
    started(theirs)
    engine = SparkRounds().build(Beating(ours), None, session)
    engine.submit([job(0)])
    pid = started(ours)
    start = time.monotonic()
    engine.close()
    seconds = time.monotonic() - start
    gone = ends_within(pid, 120)
    released.touch()
    thread.join()
    return {"seconds": seconds, "gone": gone, "theirs": outcome}


def _until(here: Path, released: Path) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    here_name, released_name = str(here), str(released)

    def wait(rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        batches = list(rows)
        Path(here_name).write_text(str(os.getpid()))
        while not Path(released_name).exists():
            time.sleep(0.05)
        yield from batches

    return wait


def dying(session: SparkSession, server: int, folder: Path) -> dict[str, Any]:
    """Kill the server under a job at work."""
    launcher._PULSE_SECONDS = 1.0  # an engine that waits asks more often than it would else whether the server answers
    engine = SparkRounds(spark=Session(wait_seconds=5)).build(Beating(folder / "last"), None, session)
    engine.submit([job(0)])
    started(folder / "last")
    os.kill(server, signal.SIGKILL)
    start = time.monotonic()

    def wait() -> None:
        while not engine.wait(timeout=0.5):
            pass

    says = refusal(wait)
    noticed = time.monotonic() - start
    start = time.monotonic()
    engine.close()
    stop_session(session)
    return {"says": says, "noticed": noticed, "closed": time.monotonic() - start, "at": time.time()}


def main(url: str, server: int, folder: Path) -> None:
    """Everything once, the server's death last."""

    def report(name: str, value: object) -> None:
        print("REPORT", json.dumps([name, value]), flush=True)

    spark = {"remote": url}
    report("rounds", hyperband({"name": "spark_rounds", "spark": spark}, folder / "jobs1"))
    report("async", hyperband({"name": "spark_async", "slots": 2, "spark": spark}, folder / "jobs2"))
    session, ours = Session(remote=url).open()
    report("session", {"connect": is_connect(session), "ours": ours, "again": Session().open()[0] is session})
    store = CommittedJobs(LocalFiles(folder / "jobs3"))
    report("unloadable", refusal(lambda: statuses(SparkRounds().build(Unloadable(), None, session), [job(0)])))
    deaths = [job(0), job(1, what="die"), job(2), job(3)]
    report("deaths", statuses(SparkRounds().build(Probe(), store, session), deaths))
    store = CommittedJobs(LocalFiles(folder / "jobs4"))
    report("deaths async", statuses(SparkAsync(slots=2).build(Probe(), store, session), deaths))
    report("slots", refusal(lambda: SparkAsync().build(Probe(), None, session)))
    profile = SparkRounds(spark=Session(profile=TaskProfile(cpus=2)))
    report("profile", refusal(lambda: profile.build(Probe(), None, session)))
    static = Session(remote=url, conf={"spark.sql.warehouse.dir": "x"})
    report("cancelling", cancelling(session, folder))
    stop_session(session)
    report("static", refusal(static.open))
    session, _ = Session(remote=url).open()
    session.addArtifacts(str(folder / "spark_nas.zip"), pyfile=True)
    engine = SparkRounds().build(Origin(), None, session)
    engine.submit([job(0)])
    report("artifacts", [result.error or result.metrics for result in engine.wait()])
    engine.close()
    report("dying", dying(session, server, folder))
    report("classic", refusal(Session("local[1]").open))
    report("nobody", refusal(Session(remote=url, wait_seconds=1).open))
    report("end", time.time())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
