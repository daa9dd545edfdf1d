"""The driver program of test_closing: Spark ends or freezes under jobs of engines; prints how long each took to end.

closing_driver.py killed|stopped|frozen FOLDER rounds|async|batches ...
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pyspark import SparkContext
from pyspark.sql import SparkSession

from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import SparkNasError
from spark_nas.search.protocols import Engine
from tests.engines.connect_driver import Beating
from tests.engines.probes import job

ENGINES = {
    "rounds": SparkRounds(),
    "async": SparkAsync(slots=2, channel="on"),
    "batches": SparkAsync(slots=2, channel="off"),
}


def built(names: Sequence[str], session: SparkSession, folder: Path) -> dict[str, Engine]:
    """Engines, each with a job at work. They share a Spark, and each stops it, as one does that has made it."""
    engines = {name: ENGINES[name]._engine(Beating(folder / name), None, session, True) for name in names}
    for engine in engines.values():
        engine.submit([job(0)])
    while missing := [name for name in names if not (folder / name).exists()]:
        engines[missing[0]].wait(timeout=0.1)
    return engines


def ended(engine: Engine, seconds: float) -> dict[str, Any]:
    """What the engine says within so many seconds, and how long that and its closing took."""
    start, says = time.monotonic(), "nothing"
    try:
        engine.wait(timeout=seconds)
    except SparkNasError as error:
        says = f"{type(error).__name__}: {error}"
    noticed = time.monotonic() - start
    start = time.monotonic()
    engine.close()
    return {"says": says, "noticed": noticed, "closed": time.monotonic() - start}


def main(how: str, folder: Path, names: Sequence[str]) -> None:
    """Start the jobs, harm Spark's JVM, wait for what comes, and close: all at once, as one that hangs takes time."""
    session, _ = Session(f"local[{2 * len(names)}]").open()
    engines = built(names, session, folder)
    context = SparkContext.getOrCreate()
    print("JVM", context._gateway.proc.pid, flush=True)
    if how == "stopped":
        context.stop()
    else:
        os.kill(context._gateway.proc.pid, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    with ThreadPoolExecutor(len(engines)) as threads:
        ending = {name: threads.submit(ended, each, 1 if how == "frozen" else 240) for name, each in engines.items()}
    report = {name: each.result() for name, each in ending.items()}
    print("REPORT", json.dumps({**report, "end": time.time()}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
