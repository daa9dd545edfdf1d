"""Which device a job may use: the GPU address that Spark gave its task, or else the task's CPU cores.

Spark hands out addresses but sets no `CUDA_VISIBLE_DEVICES` (a platform may). A device is therefore named `cuda:N`
and the variable is left alone: narrowing it would bind a reused Python worker to its first address for ever,
because CUDA reads it once. Torch is never imported here; whoever trains has imported it by then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spark_nas.errors import JobError

if TYPE_CHECKING:
    from pyspark import TaskContext

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_ORDER = "CUDA_DEVICE_ORDER"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job runs.

    >>> Place(threads=4).device()
    'cpu'
    """

    threads: int
    """CPU threads the job may use."""
    gpu: str | None = None
    """The address as Spark gave it; None where there are no GPUs."""
    required: bool = False
    """Whether running without a GPU is an error."""

    def device(self) -> str:
        """`cuda:N`, or `cpu`: also where torch says that it cannot use the GPU (a CPU build, a fake address).

        Asked late, when the evaluator has imported torch. Raises JobError when a GPU is required and there is none.
        """
        torch = sys.modules.get("torch")
        if self.gpu is not None and (torch is None or torch.cuda.is_available()):
            return cuda_name(self.gpu, os.environ)
        if self.required:
            why = "Spark gave this task none" if self.gpu is None else f"torch finds no CUDA for GPU {self.gpu}"
            raise JobError(f"require_gpu: {why}; check spark.task.resource.gpu.amount and the build of torch")
        return "cpu"


def place_of_task(required: bool = False) -> Place:
    """The place of the Spark task that this process is running; outside a task, this machine's cores."""
    context = _task_context()
    if context is None:
        return Place(available_cores(), required=required)
    threads = max(1, int(context.cpus()))
    granted = context.resources().get("gpu")
    if granted is None or not granted.addresses:
        return Place(threads, required=required)
    # Discovery scripts number GPUs as nvidia-smi does; CUDA's own default is "fastest first".
    os.environ.setdefault(_ORDER, "PCI_BUS_ID")
    return Place(threads, granted.addresses[0], required)


def cuda_name(address: str, environ: Mapping[str, str]) -> str:
    """The torch name of a GPU address. Raises JobError for an address that is not a number.

    Where the platform sets `CUDA_VISIBLE_DEVICES`, addresses are positions in it, and so is the N of `cuda:N`. An
    address beyond its end comes from a platform that has already cut it down to the task's own GPU.

    >>> [cuda_name("1", environ) for environ in ({}, {"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "1"})]
    ['cuda:1', 'cuda:1', 'cuda:0']
    """
    if not address.isdecimal():
        raise JobError(f"GPU address {address!r}: the discovery script must print numbers, as nvidia-smi's index")
    visible = [name for name in environ.get(_VISIBLE, "").split(",") if name.strip()]
    return f"cuda:{int(address)}" if not visible or int(address) < len(visible) else "cuda:0"


def only_visible(address: str, environ: Mapping[str, str]) -> str:
    """What `CUDA_VISIBLE_DEVICES` must be for a process that is to see the GPU of an address alone.

    >>> [only_visible("1", environ) for environ in ({}, {"CUDA_VISIBLE_DEVICES": "4,5"}, {"CUDA_VISIBLE_DEVICES": "4"})]
    ['1', '5', '4']
    """
    position = int(cuda_name(address, environ).removeprefix("cuda:"))
    visible = [name.strip() for name in environ.get(_VISIBLE, "").split(",") if name.strip()]
    return visible[position] if visible else address


def see_own_gpu() -> None:
    """Make the GPU of the barrier task that runs here the only visible one, for the processes that it starts.

    Not for this process, which other tasks use again. Nothing changes where Spark gave the task no GPU.
    """
    from pyspark import BarrierTaskContext

    granted = BarrierTaskContext.get().resources().get("gpu")
    if granted is not None and granted.addresses:
        os.environ.setdefault(_ORDER, "PCI_BUS_ID")
        os.environ[_VISIBLE] = only_visible(granted.addresses[0], os.environ)


def available_cores() -> int:
    """CPU cores that this process may run on (its affinity, where the system tells)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _task_context() -> TaskContext | None:
    if "pyspark" not in sys.modules:
        return None
    from pyspark import TaskContext

    return TaskContext.get()
