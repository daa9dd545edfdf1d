"""Settings and seeds under which training is a function of its seed: exact reproducibility.

Li and Talwalkar (UAI 2019) call it so: the same code, seeds and versions give the same number.
Nothing random is carried from one epoch to the next: every epoch seeds torch anew from (seed, epoch), so a
resumed job needs no generator state in its checkpoint.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.utils import deterministic as memory

from spark_nas.search.records import derive_seed


@contextmanager
def torch_settings(device: torch.device, *, threads: int, deterministic: bool) -> Iterator[None]:
    """Set torch's threads, algorithms and generators for one job, and put everything back afterwards.

    These settings are the process's, not the thread's: one process runs one job at a time.
    """
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        memory.fill_uninitialized_memory,  # type: ignore[attr-defined]
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
    )
    # cuBLAS reads it when its first handle is made; harmless on a CPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    cuda = [device] if device.type == "cuda" else []
    try:
        torch.set_num_threads(threads)
        _set_algorithms(deterministic, warn_only=False, fill=False, cudnn=deterministic, benchmark=not deterministic)
        with torch.random.fork_rng(devices=cuda):
            yield
    finally:
        torch.set_num_threads(before[0])
        _set_algorithms(before[1], warn_only=before[2], fill=before[3], cudnn=before[4], benchmark=before[5])


def _set_algorithms(deterministic: bool, *, warn_only: bool, fill: bool, cudnn: bool, benchmark: bool) -> None:
    torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
    # Filling fresh memory only helps to find reads of uninitialised memory; it costs every allocation.
    memory.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
    torch.backends.cudnn.deterministic = cudnn
    torch.backends.cudnn.benchmark = benchmark


def seed_torch(device: torch.device, *identity: int | str) -> None:
    """Seed the generators of the CPU and of `device` from any identity; call it inside `torch_settings`."""
    seed = derive_seed(*identity)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
