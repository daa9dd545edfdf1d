"""No contestant: Spark alone with as many slots, a small task on each. How much memory does its driver take?"""

from __future__ import annotations

from pathlib import Path

from pyspark.sql import SparkSession

from benchmarks.orchestration.objective import Workload


def search(workload: Workload, folder: Path) -> None:
    """Open a session, run a task on every slot, stop."""
    session = local_session(workload.workers)
    session.sparkContext.parallelize(range(workload.workers), workload.workers).map(abs).collect()
    session.stop()


def local_session(slots: int) -> SparkSession:
    """The local session that all contestants on Spark get, listening on this machine alone."""
    builder = SparkSession.builder.master(f"local[{slots}]").appName("orchestration")
    for key, value in {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }.items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    return session
