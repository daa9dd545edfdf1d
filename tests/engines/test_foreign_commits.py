"""A commit under a job's key that is of another job, on a real local Spark.

A sampler of a user's own may, after a driver's death, propose another architecture for the trial that the dead driver
had in flight.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.search.protocols import Engine, Workspace
from spark_nas.search.records import Job, Outcome, Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import job

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Waiting:
    """Says in a file which process it is, and waits to be killed."""

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import os
        import time

        with open(self.file + "~", "w") as file:
            file.write(str(os.getpid()))
        os.rename(self.file + "~", self.file)
        while True:
            time.sleep(0.05)


def results_of(engine: Engine) -> list[Result]:
    while not (results := engine.wait()):
        pass
    return results


@pytest.mark.parametrize(
    "options",
    [SparkRounds(), SparkAsync(slots=1, channel="on"), SparkAsync(slots=1, channel="off")],
    ids=["rounds", "async", "batches"],
)
def test_a_commit_of_another_job_is_not_taken_for_that_of_a_job_that_is_lost(
    options: SparkRounds | SparkAsync, spark: SparkSession, tmp_path: Path
):
    store, pid = CommittedJobs(LocalFiles(tmp_path / "store")), tmp_path / "pid"
    engine = options.build(Waiting(pid), store, spark)
    try:
        engine.submit([job(0)])
        while not pid.exists():
            engine.wait(timeout=0.1)
        store.commit(Result(job(0, what="something else"), "completed", loss=0.0), None)
        os.kill(int(pid.read_text()), signal.SIGKILL)
        assert [("lost", job(0))] == [(result.status, result.job) for result in results_of(engine)]
        engine.submit([job(0)])
        [failed] = results_of(engine)
        assert ("failed", job(0)) == (failed.status, failed.job)
        assert "the store holds another experiment's job (0, 0)" in str(failed.error)
    finally:
        engine.close()
