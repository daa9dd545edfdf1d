"""What a network costs, to be held against the sizes that papers print."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def parameters(network: nn.Module) -> int:
    """The number of trainable scalars."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def multiply_accumulates(network: nn.Module, input_shape: tuple[int, ...]) -> int:
    """MACs of the convolutions and linear layers for one example of `input_shape`; all else is left out."""
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        # Each output element takes one product a weight of its filter; weight[0] is one filter (or one row).
        total += output.numel() * math.prod(module.weight.shape[1:])

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    with torch.no_grad():
        network.eval()(torch.zeros((1, *input_shape)))
    return total
