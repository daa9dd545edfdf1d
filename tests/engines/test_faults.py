"""What libraries say of their failures, as they say it today."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from pyarrow import fs

from spark_nas.engines.faults import SPOILED, is_machines_fault, spoils_process
from spark_nas.engines.gpu import Place
from spark_nas.engines.simulated import MemoryStore
from spark_nas.engines.task import run_job
from spark_nas.engines.worker import NOT_STARTED, Assignment, FixedBatches
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome, Result
from spark_nas.search.wire import result_from_json
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
        torch.empty(2**60)
        return Outcome(0.5)


def test_a_job_that_torch_has_no_memory_for_fails() -> None:
    result = run_job(job(1), Greedy(), place=Place(1))
    assert (result.status, str(result.error).split(":")[0]) == ("failed", "RuntimeError")
    assert "memory" in str(result.error)


ILLEGAL = """CUDA error: an illegal memory access was encountered
Search for `cudaErrorIllegalAddress' in https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html
CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.
For debugging consider passing CUDA_LAUNCH_BLOCKING=1
Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.
"""


def handled(error: Exception, *, cause: Exception | None = None, context: Exception | None = None) -> Exception:
    error.__cause__, error.__context__ = cause, context
    return error


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError(ILLEGAL),
        torch.AcceleratorError("CUDA error: device-side assert triggered"),
        torch.AcceleratorError("HIP error: invalid device function"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb)`"),
        RuntimeError("CUDA driver error: unspecified launch failure"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("Triton Error [CUDA]: an illegal memory access was encountered"),
        handled(ValueError("the loss cannot be read"), cause=RuntimeError(ILLEGAL)),
        handled(ValueError("the file cannot be closed"), context=RuntimeError(ILLEGAL)),
    ],
    ids=str,
)
def test_after_an_error_of_cuda_a_process_is_spoiled(error: Exception) -> None:
    assert spoils_process(error)
    assert not is_machines_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 14.74 GiB"
        ),
        torch.AcceleratorError("CUDA error: out of memory\nSearch for `cudaErrorMemoryAllocation' in https://docs"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (64x10 and 20x5)"),
        RuntimeError(),
        ValueError(ILLEGAL),
        MemoryError(),
    ],
    ids=str,
)
def test_after_any_other_error_the_next_job_may_do_well(error: Exception) -> None:
    assert not spoils_process(error)


class OnGpu:
    """Fails as a job does that breaks the GPU, where its architecture says so."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if job.trial.architecture["do"] == "break":
            raise torch.AcceleratorError(ILLEGAL)
        return Outcome(0.5)


@pytest.fixture
def spoilt() -> Iterator[None]:
    """The process that runs the tests is as good as new afterwards."""
    yield
    SPOILED.clear()


@pytest.mark.usefixtures("spoilt")
def test_the_job_that_breaks_the_gpu_fails_and_one_that_comes_after_it_is_lost() -> None:
    store = MemoryStore()
    run_job(job(3), OnGpu(), store, place=Place(1))
    jobs = [job(1), job(2, what="break"), job(1), job(3), job(2, what="break")]
    results = [
        run_job(each, OnGpu(), store if each == job(3) else None, place=Place(1), expendable=True) for each in jobs
    ]
    assert [result.status for result in results] == ["completed", "failed", "lost", "completed", "lost"]
    assert str(results[1].error).splitlines()[0] == f"AcceleratorError: {ILLEGAL.splitlines()[0]}"


@pytest.mark.usefixtures("spoilt")
def test_the_rest_of_a_batch_comes_back_as_not_started() -> None:
    board = [[Assignment(job(1, what="break"), 1), Assignment(job(2), 1), Assignment(job(3), 1)]]

    def work(job: Job, attempt: int) -> Result:
        return run_job(job, OnGpu(), place=Place(1), expendable=True)

    broken, *rest = FixedBatches.pack(board).run(0, work, print)
    assert (result_from_json(broken).status, rest) == ("failed", [NOT_STARTED, NOT_STARTED])


def test_a_process_that_cannot_be_replaced_goes_on() -> None:
    results = [run_job(job(n, what=what), OnGpu(), place=Place(1)) for n, what in enumerate(("break", "sum"))]
    assert [result.status for result in results] == ["failed", "completed"]


@pytest.mark.usefixtures("spoilt")
def test_a_gpu_that_cannot_say_its_name_any_more_fails_the_job_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: torch.zeros(1, device="cuda:99"))  # raises
    result = run_job(job(1, what="break"), OnGpu(), place=Place(1, gpu="0"), expendable=True)
    assert (result.status, result.environment["device"], result.environment.get("gpu")) == ("failed", "cuda:0", None)
