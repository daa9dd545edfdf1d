"""The driver program of test_closing: its Spark ends or freezes under a job at work; prints how long it took to end.

closing_driver.py rounds|async|batches killed|stopped|frozen FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from pyspark import SparkContext

from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import SparkNasError
from spark_nas.search.protocols import Engine
from tests.engines.connect_driver import Beating
from tests.engines.probes import job


def built(which: str, folder: Path) -> Engine:
    """An engine of two slots, in a Spark of its own."""
    spark, evaluator = Session("local[2]"), Beating(folder / "job")
    if which == "rounds":
        return SparkRounds(spark=spark).build(evaluator)
    return SparkAsync(channel="on" if which == "async" else "off", spark=spark).build(evaluator)


def main(which: str, how: str, folder: Path) -> None:
    """Start a job, harm Spark's JVM, wait for what comes, and close."""
    engine = built(which, folder)
    context = SparkContext.getOrCreate()
    engine.submit([job(0)])
    while not (folder / "job").exists():
        engine.wait(timeout=0.1)
    print("JVM", context._gateway.proc.pid, flush=True)
    if how == "stopped":
        context.stop()
    else:
        os.kill(context._gateway.proc.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    start = time.monotonic()
    says = "nothing"
    try:
        engine.wait(timeout=1 if how == "frozen" else 240)
    except SparkNasError as error:
        says = f"{type(error).__name__}: {error}"
    noticed = time.monotonic() - start
    start = time.monotonic()
    engine.close()
    report = {"says": says, "noticed": noticed, "closed": time.monotonic() - start, "end": time.time()}
    print("REPORT", json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
