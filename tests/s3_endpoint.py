"""A real S3 endpoint over HTTP on this machine: a moto server in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from spark_nas.object_store import StorageOptions
from tests.ports import reserved_port
from tests.processes import end

_READY_SECONDS = 60


@dataclass(frozen=True)
class S3:
    """A running endpoint with one bucket."""

    endpoint: str
    bucket: str
    environment: Mapping[str, str]
    """What a process needs to reach it by the standard chain."""

    def options(self, **changes: object) -> StorageOptions:
        """Options that reach it whatever the environment says."""
        return StorageOptions(**{"endpoint": self.endpoint, "region": "us-east-1", "max_attempts": 4, **changes})

    def prefix(self) -> str:
        """A location in the bucket that nobody else uses."""
        return f"s3://{self.bucket}/{uuid.uuid4().hex[:12]}"


@contextmanager
def s3_endpoint(*, authenticating: bool = False) -> Iterator[S3]:
    """Start the server, make the bucket, end the server with the block.

    One that is `authenticating` refuses all keys, as nobody has been given any.
    """
    with reserved_port() as port:
        environment = {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        environ = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        if authenticating:
            environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "1"  # the one that makes the bucket
        process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            s3 = S3(environment["AWS_ENDPOINT_URL"], "nas", environment)
            _until_ready(process, s3)
            yield s3
        finally:
            end(process)


def _until_ready(process: subprocess.Popen[bytes], s3: S3) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            request = urllib.request.Request(f"{s3.endpoint}/{s3.bucket}", method="PUT")
            urllib.request.urlopen(request, timeout=5).close()
            assert process.poll() is None, "another server answers in place of the S3 endpoint"
            return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert process.poll() is None, "the S3 endpoint ended"
            assert time.monotonic() < deadline, "the S3 endpoint does not answer"
            time.sleep(0.1)
