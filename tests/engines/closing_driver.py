"""The driver program of test_closing: its Spark dies or freezes under a job at work; prints how long it took to end.

closing_driver.py killed|frozen FOLDER
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from spark_nas.engines.session import Session
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import SparkNasError
from tests.engines.connect_driver import Beating, started
from tests.engines.probes import job


def main(how: str, folder: Path) -> None:
    """Start a job, harm Spark's JVM, wait for what comes, and close."""
    engine = SparkRounds(spark=Session("local[1]")).build(Beating(folder / "job"))
    jvm = engine._session.sparkContext._gateway.proc.pid
    engine.submit([job(0)])
    started(folder / "job")
    print("JVM", jvm, flush=True)
    os.kill(jvm, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    start = time.monotonic()
    says = "nothing"
    try:
        engine.wait(timeout=240 if how == "killed" else 1)
    except SparkNasError as error:
        says = f"{type(error).__name__}: {error}"
    noticed = time.monotonic() - start
    start = time.monotonic()
    engine.close()
    report = {"says": says, "noticed": noticed, "closed": time.monotonic() - start, "end": time.time()}
    print("REPORT", json.dumps(report), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
