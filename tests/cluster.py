"""A standalone Spark cluster of separate processes on this machine, each worker with a fake GPU of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.processes import TEST_JVM, end

_HOST = "127.0.0.1"
_WORKERS = 2
_READY_SECONDS = 180
_MASTER = re.compile(rf"Starting Spark master at (spark://{re.escape(_HOST)}:[1-9]\d*)\s")
_PAGE = re.compile(r"MasterWebUI.* started at (http://\S+:[1-9]\d*)\s")
_APPLICATION = {
    "spark.driver.host": _HOST,
    "spark.driver.bindAddress": _HOST,
    "spark.ui.enabled": "false",
    "spark.executor.cores": "1",
    "spark.executor.memory": "512m",
    "spark.executor.extraJavaOptions": TEST_JVM,
    "spark.executor.resource.gpu.amount": "1",
    "spark.task.resource.gpu.amount": "1",
}


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    master: str
    """The master's URL, `spark://...`."""
    conf: dict[str, str]
    """What an application must set to have executors of one core and one GPU, for one task each, on loopback."""


def spark_environment() -> dict[str, str]:
    """The environment for Spark's scripts: this interpreter, the installed pyspark, loopback."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_GATEWAY", "SPARK_"))}
    return inherited | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": _HOST,
        "SPARK_NO_DAEMONIZE": "1",
        "SPARK_DAEMON_JAVA_OPTS": TEST_JVM,
        "SPARK_SUBMIT_OPTS": TEST_JVM,
        "PYTHONPATH": os.pathsep.join(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "spark" in p),
    }


@contextmanager
def standalone_cluster(folder: Path) -> Iterator[Cluster]:
    """Start a master and two workers of two cores; worker n has the GPU address n. They end with the block."""
    with ExitStack() as running:
        log = folder / "master.log"
        process = _start(running, log, "master.Master", ["--host", _HOST, "--port", "0", "--webui-port", "0"])
        master, page = _addresses(process, log)
        for number in range(_WORKERS):
            options = ["--host", _HOST, "--webui-port", "0", "--cores", "2", "--memory", "1g"]
            options += ["--work-dir", str(folder / f"work{number}")]
            options += ["--properties-file", str(_properties(folder, number)), master]
            _start(running, folder / f"worker{number}.log", "worker.Worker", options)
        _until(lambda: _page(page).count('"state" : "ALIVE"') >= _WORKERS, "the workers")
        yield Cluster(master, _APPLICATION)


def _addresses(process: subprocess.Popen[bytes], log: Path) -> tuple[str, str]:
    """The master's and its page's, on ports that it has chosen itself: `spark://...` and `http://...`."""

    def found() -> list[re.Match[str] | None]:
        text = log.read_text(errors="replace")
        assert process.poll() is None, f"the master ended: {text[-2000:]}"
        return [pattern.search(text) for pattern in (_MASTER, _PAGE)]

    _until(lambda: all(found()), "the master")
    master, page = (match[1] for match in found() if match)
    return master, page


def _properties(folder: Path, number: int) -> Path:
    """A worker's own properties: one script for two workers of one host would hand out the same address twice."""
    script = folder / f"gpus{number}.sh"
    script.write_text(f"""#!/bin/sh\necho '{{"name": "gpu", "addresses": ["{number}"]}}'\n""")
    script.chmod(0o755)
    properties = folder / f"worker{number}.conf"
    properties.write_text(f"spark.worker.resource.gpu.amount 1\nspark.worker.resource.gpu.discoveryScript {script}\n")
    return properties


def _start(running: ExitStack, log: Path, what: str, options: list[str]) -> subprocess.Popen[bytes]:
    environment = spark_environment()
    command = [f"{environment['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{what}", *options]
    output = running.enter_context(log.open("wb"))
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    running.callback(end, process)
    return process


def _page(address: str) -> str:
    try:
        with urllib.request.urlopen(f"{address}/json/", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _until(ready, what: str) -> None:  # noqa: ANN001
    deadline = time.monotonic() + _READY_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within {_READY_SECONDS} s")
        time.sleep(0.2)
