"""The group of processes that run one job together, and what they say to one another outside of the gradients.

`torch.distributed` with gloo on CPUs, NCCL on GPUs. Without a group every function here does nothing, so that a
training need not ask whether there is one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

T = TypeVar("T")

_PATIENCE = timedelta(minutes=10)
"""After so long without an answer a process gives the others up; one that dies is noticed at once (NCCL: later)."""


class Peers:
    """The processes of a group, as one of them sees the others: `search.protocols.Peers`."""

    def __init__(self, store: Any, rank: int) -> None:  # noqa: ANN401 - torch does not export the type
        self._store = dist.PrefixStore("spark_nas", store)  # type: ignore[attr-defined]
        self.rank = rank
        self.size = processes()

    def tell(self, text: str) -> None:
        """Say something for all to hear; what was said before is forgotten."""
        self._store.set(str(self.rank), text)

    def hear(self, rank: int, seconds: float) -> str | None:
        """What that process has said last; None where it says nothing for so long, or cannot be heard any more."""
        try:
            self._store.wait([str(rank)], timedelta(seconds=seconds))
            return self._store.get(str(rank)).decode()
        except RuntimeError:
            return None


@contextlib.contextmanager
def join(device: torch.device) -> Iterator[Peers]:
    """Within, this process is one of the group that its launcher has told it of, in the environment.

    That is RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, which torchrun and Spark's TorchDistributor set.
    """
    store, rank, size = next(rendezvous("env://", timeout=_PATIENCE))
    backend, bound = ("nccl", device) if device.type == "cuda" else ("gloo", None)
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_PATIENCE, device_id=bound)
    try:
        sums(0.0)  # until all are here none may leave: the first takes the store along, without which they do not meet
        yield Peers(store, rank)
    finally:
        dist.destroy_process_group()  # closes the connections, which is how the others learn of a failure


def processes() -> int:
    """How many processes train together; 1 without a group."""
    return dist.get_world_size() if grouped() else 1


def from_first(content: bytes | None) -> bytes | None:
    """What the first process has, for all of them."""
    if not grouped():
        return content
    length = torch.tensor(-1 if content is None else len(content), device=here())
    with reaching():
        dist.broadcast(length, 0)
    if length <= 0:
        return None if length < 0 else b""
    known = content if dist.get_rank() == 0 else None
    whole = torch.frombuffer(bytearray(known or int(length)), dtype=torch.uint8).to(here())
    with reaching():
        dist.broadcast(whole, 0)
    return bytes(whole.cpu().numpy())


def sums(*numbers: float) -> tuple[float, ...]:
    """The sum of each number over processes."""
    if not grouped():
        return numbers
    total = torch.tensor(numbers, dtype=torch.float64, device=here())
    with reaching():
        dist.all_reduce(total)
    return tuple(total.tolist())


def dealt(batches: Iterable[T], *, sequence: bool) -> Iterator[tuple[bool, T]]:
    """Each batch of a pass that measures, and whether this process is to: they take turns.

    Of a `sequence`, whose state goes from batch to batch, each measures all.
    """
    rank = dist.get_rank() if grouped() else 0
    for index, batch in enumerate(batches):
        yield sequence or index % processes() == rank, batch


def grouped() -> bool:
    """Whether this process has joined others."""
    return dist.is_available() and dist.is_initialized()


def here() -> torch.device:
    """Where numbers must lie to be sent: on the GPU that this process has joined with, or the CPU."""
    world = dist.group.WORLD
    return (world and world.bound_device_id) or torch.device("cpu")


@contextlib.contextmanager
def reaching() -> Iterator[None]:
    """Raises ConnectionError, which is the machine's fault and not the job's, where another process is gone."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"another process of this job is gone: {error}") from error
