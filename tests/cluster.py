"""A standalone Spark cluster of separate processes on this machine, each worker with a fake GPU of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

_HOST = "127.0.0.1"
_READY_SECONDS = 90


@dataclass(frozen=True)
class Cluster:
    """A running cluster."""

    master: str
    """The master's URL, `spark://...`."""
    conf: dict[str, str]
    """What an application must set to have one GPU a task, on loopback."""


def spark_environment() -> dict[str, str]:
    """The environment for Spark's scripts: this interpreter, the installed pyspark, loopback."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_GATEWAY", "SPARK_"))}
    return inherited | {
        "SPARK_HOME": str(Path(pyspark.__file__).parent),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": _HOST,
        "SPARK_NO_DAEMONIZE": "1",
        "PYTHONPATH": os.pathsep.join(p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "spark" in p),
    }


@contextmanager
def standalone_cluster(folder: Path, *, workers: int = 2, cores: int = 1) -> Iterator[Cluster]:
    """Start a master and its workers; worker n has the GPU address n. They end with the block."""
    port, page = _free_port(), _free_port()
    with ExitStack() as running:
        options = ["--host", _HOST, "--port", str(port), "--webui-port", str(page)]
        _start(running, folder / "master.log", "master.Master", options)
        _until(lambda: _page(page), "the master")
        for number in range(workers):
            options = ["--host", _HOST, "--webui-port", str(_free_port()), "--cores", str(cores), "--memory", "1g"]
            options += ["--work-dir", str(folder / f"work{number}")]
            options += ["--properties-file", str(_properties(folder, number)), f"spark://{_HOST}:{port}"]
            _start(running, folder / f"worker{number}.log", "worker.Worker", options)
        _until(lambda: _page(page).count('"state" : "ALIVE"') >= workers, f"{workers} workers")
        yield Cluster(f"spark://{_HOST}:{port}", _application_conf(cores))


def _application_conf(cores: int) -> dict[str, str]:
    return {
        "spark.driver.host": _HOST,
        "spark.driver.bindAddress": _HOST,
        "spark.ui.enabled": "false",
        "spark.executor.cores": str(cores),
        "spark.executor.memory": "512m",
        "spark.executor.resource.gpu.amount": "1",
        "spark.task.resource.gpu.amount": "1",
    }


def _properties(folder: Path, number: int) -> Path:
    """A worker's own properties: one script for two workers of one host would hand out the same address twice."""
    script = folder / f"gpus{number}.sh"
    script.write_text(f"""#!/bin/sh\necho '{{"name": "gpu", "addresses": ["{number}"]}}'\n""")
    script.chmod(0o755)
    properties = folder / f"worker{number}.conf"
    properties.write_text(f"spark.worker.resource.gpu.amount 1\nspark.worker.resource.gpu.discoveryScript {script}\n")
    return properties


def _start(running: ExitStack, log: Path, what: str, options: list[str]) -> None:
    environment = spark_environment()
    command = [f"{environment['SPARK_HOME']}/bin/spark-class", f"org.apache.spark.deploy.{what}", *options]
    output = running.enter_context(log.open("wb"))
    process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
    running.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_HOST, 0))
        return int(listener.getsockname()[1])


def _page(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://{_HOST}:{port}/json/", timeout=2) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def _until(ready, what: str) -> None:  # noqa: ANN001
    deadline = time.monotonic() + _READY_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come up within {_READY_SECONDS} s")
        time.sleep(0.2)
