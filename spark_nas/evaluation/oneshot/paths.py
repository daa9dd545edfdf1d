"""Single paths drawn by p = softmax(alpha), and alpha that learns only where something was drawn for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn, optim

from spark_nas.evaluation.oneshot.mixture import Layout, Weights
from spark_nas.evaluation.oneshot.protocol import Gates, path
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions, SoftmaxWeights


class PathWeights(SoftmaxWeights):
    """p = softmax(alpha), where each choice's alpha is a parameter of its own, so that Adam can pass over it."""

    def __init__(self, layout: Layout, options: SoftmaxOptions) -> None:
        super().__init__(layout, options)
        rows = self.alpha.detach().unbind()
        del self.alpha
        self.alphas = nn.ParameterList(row.clone() for row in rows)
        self._optimiser = optim.Adam(
            self.alphas, lr=options.learning_rate, betas=options.betas, weight_decay=options.weight_decay
        )

    def leaves(self) -> tuple[Tensor, ...]:
        """All rows of alpha as one tensor [E, K], with a way back to the parameters."""
        return (torch.stack(tuple(self.alphas)),)

    def learn(self, gradients: Sequence[Tensor], learns: Sequence[bool] | None = None) -> None:
        """A step of Adam on the rows that `learns` says, by default all; the others keep even their moments."""
        for row, (alpha_K, gradient_K) in enumerate(zip(self.alphas, gradients[0], strict=True)):
            alpha_K.grad = gradient_K.clone() if learns is None or learns[row] else None
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)

    @torch.no_grad()
    def keep_shares(self, before_EK: Tensor, among_EK: Tensor) -> None:
        """Shift the options of each row that `among_EK` (bool) names, at least one, by a common offset.

        By as much as gives them together the share of the row that they had at alpha = `before_EK`; so the
        probabilities of the others are as they were, if their alphas are.
        """
        for alpha_K, before_K, among_K in zip(self.alphas, before_EK, among_EK, strict=True):
            alpha_K[among_K] -= alpha_K[among_K].logsumexp(0) - before_K[among_K].logsumexp(0)


def gumbel_like(x: Tensor) -> Tensor:
    """Independent draws from Gumbel(0, 1), of torch's generator for the device of `x`."""
    tiny = torch.finfo(x.dtype).tiny
    return -torch.empty_like(x).exponential_().clamp_min(tiny).log()


def draw(log_p_EK: Tensor) -> Tensor:
    """The column of one option a row, [E], drawn from torch's generator by p."""
    return (log_p_EK + gumbel_like(log_p_EK)).argmax(-1)


@torch.no_grad()
def drawn_path(weights: Weights) -> Gates:
    """The gates of one path, drawn by p."""
    return path(weights.layout.named(draw(weights.log_probabilities(weights.leaves()))))


def draw_pairs(log_p_EK: Tensor) -> Tensor:
    """Which two options of each row are drawn by p without replacement, [E, K] bool.

    A row of a single option keeps it.
    """
    # The two largest of log p + Gumbel are such a draw (Gumbel top-k).
    columns_E2 = (log_p_EK + gumbel_like(log_p_EK)).topk(min(2, log_p_EK.shape[-1]), dim=-1).indices
    drawn_EK = torch.zeros_like(log_p_EK, dtype=torch.bool).scatter(-1, columns_E2, True)
    return drawn_EK & ~log_p_EK.isneginf()
