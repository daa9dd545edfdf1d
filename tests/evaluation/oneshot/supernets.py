"""A supernet of 1x1 convolutions in double precision, small enough to run all its networks, and a learner over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn, optim

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Zero, mixed
from spark_nas.evaluation.oneshot.protocol import Batch
from spark_nas.spaces.core import SUPERNET, Choice, IndependentChoices

WIDTH, CLASSES = 4, 3
ZEROED = IndependentChoices("zeroed", (Choice("a", ("o0", "zero", "o2")), Choice("b", ("o0", "none"))))
"""With options that compute nothing."""


class Supernet(nn.Module):
    """The choices in a row, residual, and a linear head; [B, 4, 2, 2] -> [B, 3]."""

    def __init__(self, space: IndependentChoices, make: Callable[[str], nn.Module] | None = None) -> None:
        super().__init__()
        self.choices = nn.ModuleList(mixed(choice, SUPERNET, make or _convolution) for choice in space.choices)
        self.head = nn.Linear(WIDTH, CLASSES, dtype=torch.float64)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        for choice in self.choices:
            x_BCHW = x_BCHW + torch.tanh(choice(x_BCHW, gates))
        logits_BK: Tensor = self.head(x_BCHW.mean((2, 3)))
        return logits_BK

    def options(self) -> dict[tuple[str, str], nn.Module]:
        """(choice, option) -> what runs."""
        operations = [module for module in self.modules() if isinstance(module, MixedOperation)]
        return {
            (operation.choice, name): option for operation in operations for name, option in operation.options.items()
        }


def _convolution(option: str) -> nn.Module:
    return Zero() if option in ("none", "zero") else nn.Conv2d(WIDTH, WIDTH, 1, dtype=torch.float64)


@dataclass
class Learner:
    """The protocol's, in the precision of its network."""

    network: nn.Module
    optimiser: optim.Optimizer
    clip_norm: float = 0.0
    epochs: float = 0.0
    horizon: int = 10
    asked: list[Gates] = field(default_factory=list)
    """The gates that logits were asked for."""

    def loss(self, batch: Batch, gates: Gates | None) -> Tensor:
        return nn.functional.cross_entropy(self.logits(batch, gates), batch.y)

    def logits(self, batch: Batch, gates: Gates | None) -> Tensor:
        assert gates is not None
        self.asked.append(gates)
        logits_BK: Tensor = self.network(batch.x, gates)
        return logits_BK


def supernet(space: IndependentChoices, make: Callable[[str], nn.Module] | None = None) -> Learner:
    """A learner over a fresh supernet, with SGD."""
    network = Supernet(space, make)
    return Learner(network, optim.SGD(network.parameters(), lr=0.1, momentum=0.9))


def batch(size: int = 16, seed: int = 0, split: str = "valid") -> Batch:
    """Random inputs, labelled by which of the first channels is largest in the mean."""
    generator = torch.Generator().manual_seed(seed)
    x_BCHW = torch.randn(size, WIDTH, 2, 2, generator=generator, dtype=torch.float64)
    return Batch(x_BCHW, x_BCHW.mean((2, 3))[:, :CLASSES].argmax(-1), split)
