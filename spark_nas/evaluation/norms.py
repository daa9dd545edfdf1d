"""Batch norms that use a batch's own statistics and remember none.

Two places need them. A method that looks at a batch aside from the training must leave the running statistics as it
found them. And a path of a supernet has no running statistics of its own: those kept are of all the paths that passed
(Bender et al. 2018, section 3.4, evaluate with a batch's; by which the ranking stands or falls).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def norms_of(network: nn.Module) -> list[_BatchNorm]:
    """The batch norms of a network that keep running statistics."""
    return [module for module in network.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]


@contextlib.contextmanager
def batch_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Normalise by each batch's statistics, also in evaluation mode, and leave the running ones untouched."""
    modes = [norm.training for norm in norms]
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    try:
        yield
    finally:
        for norm, mode in zip(norms, modes, strict=True):
            norm.training, norm.track_running_stats = mode, True
