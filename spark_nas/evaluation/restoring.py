"""What is changed of a network for a while and then put back: the modes of its modules, and its weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Within, all of the network is in evaluation mode; afterwards each module is in the mode in which it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def restored(weights: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Within, weights may be changed; afterwards they are bit for bit what they were. Gives copies of them."""
    kept = [weight.detach().clone() for weight in weights]
    try:
        yield kept
    finally:
        assign(weights, kept)


@torch.no_grad()
def assign(tensors: Sequence[Tensor], values: Sequence[Tensor]) -> None:
    """Give each tensor its value, in place. Raises ValueError where there are more of the one than of the other."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
