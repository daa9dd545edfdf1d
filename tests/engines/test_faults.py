"""What libraries say of their failures, as they say it today."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from pyarrow import fs

from spark_nas.engines.faults import is_machines_fault
from spark_nas.engines.gpu import Place
from spark_nas.engines.task import run_job
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome
from tests.engines.probes import job

ANSWERS = {
    "503 Slow Down": b"<Error><Code>SlowDown</Code><Message>less</Message></Error>",
    "500 Internal Server Error": b"<Error><Code>InternalError</Code><Message>oh</Message></Error>",
    "503 Service Unavailable": b"",
    "403 Forbidden": b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>",
}


@pytest.fixture
def answering() -> Iterator[Callable[[str], int]]:
    """`answering(status)` is a port of a server that says nothing else."""
    servers: list[socket.socket] = []

    def start(status: str) -> int:
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(ANSWERS[status])}\r\nConnection: close\r\n\r\n"

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                with client:
                    client.recv(65536)
                    client.sendall(head.encode() + ANSWERS[status])

        threading.Thread(target=serve, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def error_at(port: int, *, listing: bool) -> OSError:
    """What comes of asking an endpoint once."""
    filesystem = fs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{port}",
        scheme="http",
        anonymous=True,
        region="us-east-1",
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
    )
    with pytest.raises(OSError, match="AWS Error") as caught:
        filesystem.get_file_info(fs.FileSelector("bucket/folder") if listing else "bucket/key")
    return caught.value


@pytest.mark.parametrize("listing", [True, False])
@pytest.mark.parametrize("status", ANSWERS)
def test_a_store_that_is_busy_is_the_machines_fault_and_one_that_refuses_is_not(
    answering: Callable[[str], int], status: str, listing: bool
) -> None:
    assert is_machines_fault(error_at(answering(status), listing=listing)) == (status[0] == "5")


def test_a_store_that_is_not_there_is_the_machines_fault() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = int(server.getsockname()[1])
    assert is_machines_fault(error_at(port, listing=False))


class Greedy:
    """Asks torch for more memory than there are addresses."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import torch

        torch.empty(2**60)
        return Outcome(0.5)


def test_a_job_that_torch_has_no_memory_for_fails() -> None:
    result = run_job(job(1), Greedy(), place=Place(1))
    assert (result.status, str(result.error).split(":")[0]) == ("failed", "RuntimeError")
    assert "memory" in str(result.error)
