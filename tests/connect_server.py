"""A Spark Connect server as a process of its own on this machine: on loopback, on a free port, without a page."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyspark

from tests.cluster import spark_environment
from tests.processes import end

_CLASS = "org.apache.spark.sql.connect.service.SparkConnectServer"
_STARTED = re.compile(r"Spark Connect server started at: (\S+):(\d+)")
_READY_SECONDS = 120


@dataclass(frozen=True)
class ConnectServer:
    """A running server."""

    url: str
    """`sc://127.0.0.1:PORT`."""
    pid: int
    """Of its JVM."""


def why_no_server() -> str | None:
    """Why there can be no server here, if so."""
    jars = Path(pyspark.__file__).parent / "jars"
    if list(jars.glob("spark-connect_*.jar")):
        return None
    return f"pyspark {pyspark.__version__} brings no Spark Connect server"


@contextmanager
def connect_server(
    folder: Path, *, master: str = "local[2,4]", conf: Mapping[str, str] | None = None
) -> Iterator[ConnectServer]:
    """Start a server, its log in `folder`; it ends with the block, dead already or not."""
    settings = {
        "spark.ui.enabled": "false",
        "spark.driver.memory": "600m",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": "0",
        **(conf or {}),
    }
    # SPARK_CONNECT_MODE=0, as sbin/start-connect-server.sh has it: the server itself is no client of another
    environment = spark_environment() | {"SPARK_CONNECT_MODE": "0"}
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", master, "--class", _CLASS]
    command += [word for key, value in settings.items() for word in ("--conf", f"{key}={value}")]
    log = folder / "connect.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "spark-internal"], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield ConnectServer(_address(process, log), process.pid)  # spark-submit has become the JVM
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)  # for a test that stopped it
        end(process)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + _READY_SECONDS
    while (found := _STARTED.search(log.read_text(errors="replace"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"no Spark Connect server came up: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.2)
    return f"sc://{found[1]}:{found[2]}"
