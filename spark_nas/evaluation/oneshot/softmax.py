"""Mixture weights as the softmax of free parameters, learnt by Adam (Liu et al., ICLR 2019, sections 2.2, 3.1)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import Layout, MixtureOptions, Weights, over_nodes, require_numbers


@dataclass(frozen=True)
class SoftmaxOptions(MixtureOptions):
    """How the parameters begin, and their Adam. Defaults are those of DARTS on images."""

    learning_rate: float = 3e-4
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam; the recurrent search of DARTS has (0.9, 0.999)."""
    weight_decay: float = 1e-3
    """Of Adam, on the parameters; it draws the mixture towards the uniform one."""
    init_scale: float = 1e-3
    """Standard deviation of the parameters at the beginning."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, learning_rate=0, weight_decay=0, init_scale=0)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise OptionError("betas", self.betas, "must be two numbers of at least 0 and below 1")


class SoftmaxWeights(Weights):
    """p = softmax(alpha) over the options of a choice; beta = softmax over the incoming edges of a node."""

    def __init__(self, layout: Layout, options: SoftmaxOptions, *, edge_weights: bool = False) -> None:
        super().__init__(layout, edge_weights=edge_weights)
        shape = len(layout.rows), layout.columns
        self.alpha = nn.Parameter(options.init_scale * torch.randn(shape))
        self.beta = nn.Parameter(options.init_scale * torch.randn(shape[0])) if edge_weights else None
        self._optimiser = optim.Adam(
            self.parameters(), lr=options.learning_rate, betas=options.betas, weight_decay=options.weight_decay
        )

    def leaves(self) -> tuple[Tensor, ...]:
        """alpha, and the edges' parameters."""
        return tuple(self.parameters())

    def log_probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """The logarithm of the softmax, [E, K]."""
        return leaves[0].masked_fill(self.absent_EK, -math.inf).log_softmax(-1)

    def probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """Softmax, [E, K]."""
        return leaves[0].masked_fill(self.absent_EK, -math.inf).softmax(-1)

    def edge_weights(self, leaves: Sequence[Tensor]) -> Tensor:
        """Softmax over each node's incoming edges, [E]."""
        assert self.nodes_NE is not None
        return over_nodes(leaves[1], self.nodes_NE).exp()

    def learn(self, gradients: Sequence[Tensor]) -> None:
        """A step of Adam."""
        for parameter, gradient in zip(self.parameters(), gradients, strict=True):
            parameter.grad = gradient
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    def get_extra_state(self) -> dict[str, Any]:
        """Adam's moments, which belong to the state as the parameters do."""
        return self._optimiser.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take Adam's moments over."""
        self._optimiser.load_state_dict(state)
