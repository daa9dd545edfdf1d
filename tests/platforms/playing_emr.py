"""An EMR cluster as schedulers see it: moto's API over HTTP, and somebody who runs the steps.

moto takes steps and never runs one. Here each pending step is run for real - its arguments are given to jobs/entry.py's
own `main`, in a folder that holds the experiment - and its state becomes what EMR would make of its exit code.
"""

from __future__ import annotations

import contextlib
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import boto3
import pytest
from moto.emr.models import emr_backends
from moto.server import ThreadedMotoServer

from spark_nas.platforms.entry import main
from tests.platforms.schemas import read

ACCOUNT, REGION, BUCKET = "123456789012", "us-east-1", "nas"
Before = Callable[[int], bool]
"""Called before the n-th step, from 1; False has the step die without a word, as a killed driver does."""


@dataclass
class Emr:
    """The cluster, and the exit codes of the steps that it ran."""

    endpoint: str
    cluster: str = ""
    codes: list[int | None] = field(default_factory=list)
    before: Before = lambda number: True

    def client(self, service: str) -> object:
        """A client of any service here."""
        return boto3.client(service, region_name=REGION, endpoint_url=self.endpoint)

    def run_pending(self) -> None:
        """Run the steps that wait, one after the other."""
        for step in emr_backends[ACCOUNT][REGION].clusters[self.cluster].steps:
            if step.state in ("STARTING", "PENDING", "RUNNING"):
                step.state = "COMPLETED" if self._run(step) == 0 else "FAILED"

    def _run(self, step: object) -> int | None:
        arguments = step.args[next(i for i, part in enumerate(step.args) if part.endswith("/entry.py")) + 1 :]
        if not self.before(len(self.codes) + 1):
            self.codes.append(None)
            return None
        code = 0
        try:
            main([part.replace("s3://BUCKET", f"s3://{BUCKET}") for part in arguments])
        except SystemExit as end:
            code = int(end.code)
        self.codes.append(code)
        return code


@contextmanager
def playing_emr(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emr]:
    """Serve until the block ends; this process, and what it starts, reach it by their environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "MOTO_PORT": str(port),  # its state machines call its services there
    }.items():
        monkeypatch.setenv(name, value)
    emr = Emr(f"http://{host}:{port}")
    over = threading.Event()

    def play() -> None:
        while not over.wait(0.05):
            with contextlib.suppress(RuntimeError):  # a list that grew meanwhile
                emr.run_pending()

    try:
        emr.client("s3").create_bucket(Bucket=BUCKET)
        emr.cluster = emr.client("emr").run_job_flow(**read("emr/cluster.json"))["JobFlowId"]
        player = threading.Thread(target=play)
        player.start()
        yield emr
        over.set()
        player.join()
    finally:
        over.set()
        urllib.request.urlopen(f"{emr.endpoint}/moto-api/reset", b"").close()  # its state is this process's
        server.stop()
