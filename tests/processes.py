"""Processes of which a test is the parent."""

from __future__ import annotations

import subprocess

_SECONDS = 20
"""In which a process ends that is asked to."""

BRIEF_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""For the JVMs of tests, which live for seconds: without the optimising compiler and the threads of a large heap's
collector they take about two thirds of the time."""


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, make it end, and wait until it has."""
    process.terminate()
    try:
        process.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
