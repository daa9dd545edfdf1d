"""What a network costs: its parameters, exactly, and the multiply-accumulates of one example."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates


def parameters(network: nn.Module) -> int:
    """The number of trainable scalars."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def multiply_accumulates(network: nn.Module, input_shape: tuple[int, ...], gates: Gates | None = None) -> int:
    """MACs of the convolutions and linear layers for one example of `input_shape`; all else is left out.

    Runs one forward pass in evaluation mode; the network's mode and buffers are as before.
    """
    total = 0

    def count(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = module.weight
        assert isinstance(weight, Tensor)
        # Each output element takes one product a weight of its filter; weight[0] is one filter (or one row).
        total += output.numel() * math.prod(weight.shape[1:])

    modes = {module: module.training for module in network.modules()}
    counted = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    hooks = [module.register_forward_hook(_typed(count)) for module in counted]
    parameter = next(network.parameters())
    try:
        network.eval()
        with torch.no_grad():
            x = torch.zeros((1, *input_shape), device=parameter.device, dtype=parameter.dtype)
            network(x) if gates is None else network(x, gates)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    return total


def _typed(hook: Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]) -> Callable[..., None]:
    """Torch declares hooks with parameters of any type."""
    return hook
