"""Mixture weights on the simplex themselves, learnt by exponentiated gradient (GAEA: Li et al., ICLR 2021, section 3).

    theta <- theta * exp(-eta * dL/dtheta), then divided by its sum

The gradient is that of theta, which enters the mixture directly. Everything is kept and computed in the logarithm, so
that no gradient is too large. A weight of 0 stays 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import Layout, MixtureOptions, Weights, over_nodes, require_numbers


@dataclass(frozen=True)
class SimplexOptions(MixtureOptions):
    """The rule by which theta learns."""

    learning_rate: float = 0.1
    entropic_weight: float = 0.0
    """lambda of the regulariser, lambda * sum theta log(K theta): above 0 it draws theta towards uniform."""
    clamp: float = 1e-5
    """The least that theta may become, so that no option is ever lost, as in the released code; 0 does not clamp."""
    normalise_last: bool = True
    """Whether theta sums to 1 exactly after the clamp, or is clamped after it was normalised (the release of GDAS)."""
    exclude_zero: bool = False
    """Whether `none` is no option of the search."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, learning_rate=0, entropic_weight=0, clamp=0)
        if self.clamp >= 0.1:
            raise OptionError("clamp", self.clamp, "must be below 0.1: it is the least weight of an option")


class SimplexWeights(Weights):
    """theta over the options of a choice; beta over the incoming edges of a node, from 1 / their number.

    Both begin uniform. Edges are not clamped and not regularised, as in the release.
    """

    def __init__(self, layout: Layout, options: SimplexOptions, *, edge_learning_rate: float | None = None) -> None:
        super().__init__(layout, edge_weights=edge_learning_rate is not None)
        self._options, self._edge_learning_rate = options, edge_learning_rate
        log_EK = torch.zeros(len(layout.rows), layout.columns).masked_fill(self.absent_EK, -math.inf)
        self.log_theta: Tensor
        self.register_buffer("log_theta", log_EK.log_softmax(-1))
        self.log_beta: Tensor | None
        nodes_NE = self.nodes_NE
        log_E = None if nodes_NE is None else over_nodes(torch.zeros(len(layout.rows)), nodes_NE)
        self.register_buffer("log_beta", log_E)

    def leaves(self) -> tuple[Tensor, ...]:
        """theta, and beta."""
        logs = [self.log_theta] if self.log_beta is None else [self.log_theta, self.log_beta]
        return tuple(log.exp().requires_grad_() for log in logs)

    def log_probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """The logarithm of theta, [E, K]; a weight of 0 gets no gradient from here."""
        theta_EK = leaves[0]
        nothing_EK = theta_EK <= 0
        return theta_EK.masked_fill(nothing_EK, 1.0).log().masked_fill(nothing_EK, -math.inf)

    def probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """theta, [E, K]."""
        return leaves[0]

    def edge_weights(self, leaves: Sequence[Tensor]) -> Tensor:
        """beta, [E]."""
        return leaves[1]

    @torch.no_grad()
    def learn(self, gradients: Sequence[Tensor]) -> None:
        """A step of exponentiated gradient on theta, and on beta."""
        options = self._options
        gradient_EK = gradients[0]
        if options.entropic_weight > 0:
            # lambda (log theta + log K + 1), but for what a whole row has in common: normalising takes it out again.
            slope_EK = options.entropic_weight * self.log_theta
            gradient_EK = gradient_EK + slope_EK.masked_fill(self.log_theta.isinf(), 0.0)
        log_EK = exponentiated(self.log_theta, gradient_EK, options.learning_rate)
        if options.clamp > 0:
            log_EK = log_EK.clamp_min(math.log(options.clamp)).masked_fill(self.absent_EK, -math.inf)
            log_EK = log_EK.log_softmax(-1) if options.normalise_last else log_EK
        self.log_theta.copy_(log_EK)
        if self.log_beta is not None and self._edge_learning_rate is not None and self.nodes_NE is not None:
            self.log_beta.copy_(over_nodes(self.log_beta - self._edge_learning_rate * gradients[1], self.nodes_NE))


def exponentiated(log_theta_EK: Tensor, gradient_EK: Tensor, learning_rate: float) -> Tensor:
    """One step in the logarithm, each row normalised; -inf stays -inf."""
    return (log_theta_EK - learning_rate * gradient_EK).log_softmax(-1)
