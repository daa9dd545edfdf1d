"""An engine closes in some seconds whatever its Spark does, and its process ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from spark_nas.engines.bounded import bounded
from tests.cluster import spark_environment

REPOSITORY = Path(__file__).resolve().parents[2]
SOON = 120
"""Seconds: many more than it takes, on any machine, and many fewer than what would hang."""


pytestmark = pytest.mark.timeout(600)
ENGINES = ("rounds", "async", "batches")
TWICE = {"rounds": 20, "async": 25, "batches": 20}
"""What closing takes where a Spark that did not answer is waited for in full once more; sleeping, on any machine."""


def run_driver(how: str, folder: Path, *engines: str) -> dict[str, Any]:
    """What closing_driver reported, and when its process had ended; its JVM is gone afterwards."""
    environment = spark_environment()
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment["PYTHONPATH"]])
    command = [sys.executable, str(Path(__file__).with_name("closing_driver.py")), how, str(folder), *engines]
    # into files: the JVM inherits them, and a pipe would stay open as long as it lives
    try:
        with (folder / "out").open("w") as out, (folder / "err").open("w") as err:
            done = subprocess.run(command, check=False, env=environment, stdout=out, stderr=err, timeout=500)
        ended = time.time()
    finally:
        lines = (folder / "out").read_text().splitlines()
        for line in lines:
            if line.startswith("JVM "):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(line.removeprefix("JVM ")), signal.SIGKILL)
    assert done.returncode == 0, (folder / "err").read_text()[-3000:]
    report: dict[str, Any] = next(json.loads(x.removeprefix("REPORT ")) for x in lines if x.startswith("REPORT "))
    return {**report, "ended": ended}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What engines said whose Spark's JVM was killed under all of them: it is the same to each as if it were alone."""
    return run_driver("killed", tmp_path_factory.mktemp("killed"), *ENGINES)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What engines said whose Spark's JVM does nothing any more: they wait for it at the same time."""
    return run_driver("frozen", tmp_path_factory.mktemp("frozen"), *ENGINES)


def check_gone(report: dict[str, Any], which: str) -> None:
    assert report[which]["says"].startswith("ClusterLost: Spark is gone")
    assert report[which]["noticed"] < SOON
    assert report[which]["closed"] < SOON
    assert report["ended"] - report["end"] < SOON


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.slow
@pytest.mark.parametrize("which", ENGINES)
def test_a_spark_that_is_killed_ends_the_search_at_once(killed: dict[str, Any], which: str):
    check_gone(killed, which)


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.slow
@pytest.mark.parametrize(
    "which",
    [
        "async",
        pytest.param("rounds", marks=pytest.mark.exhaustive),
        pytest.param("batches", marks=pytest.mark.exhaustive),
    ],
)
def test_a_spark_that_is_stopped_ends_the_search_at_once(which: str, tmp_path: Path):
    check_gone(run_driver("stopped", tmp_path, which), which)


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.slow
@pytest.mark.parametrize("which", ENGINES)
def test_a_driver_jvm_that_hangs_does_not_hold_up_the_driver(frozen: dict[str, Any], which: str):
    assert frozen[which]["says"] == "nothing"
    assert frozen[which]["closed"] < TWICE[which]
    assert frozen["ended"] - frozen["end"] < SOON


def test_a_call_that_hangs_is_left_behind_and_its_error_comes_through():
    start = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer within 0\.1 s"):
        bounded(lambda: time.sleep(600), 0.1)
    assert time.monotonic() - start < SOON
    with pytest.raises(ZeroDivisionError):
        bounded(lambda: 1 // 0, SOON)
    assert bounded(lambda: "value", SOON) == "value"
