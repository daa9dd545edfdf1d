"""Processes of which a test is the parent."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pyspark.version import __version__ as spark_version

_SECONDS = 20
"""In which a process ends that is asked to."""

BRIEF_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For the JVMs of tests, which live for seconds: without the optimising compiler and the threads of a large heap's
collector they take about two thirds of the time."""

CLASS_ARCHIVE = Path(__file__).parents[1] / f".classes/spark-{spark_version}.jsa"
"""What `scripts/class-archive` makes for the JVMs of tests; a JVM that finds none, or not its own, starts without."""

QUIET_JVM = "-Xlog:disable -Xlog:all=error:stderr"
"""Classes that an archive does not take, and an archive that is not a JVM's own, are otherwise told on its output."""

TEST_JVM = f"{BRIEF_JVM} {QUIET_JVM} -XX:SharedArchiveFile={CLASS_ARCHIVE}"
"""The options of a test's JVM."""


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, make it end, and wait until it has."""
    process.terminate()
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
