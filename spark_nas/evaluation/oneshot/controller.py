"""The controller of ENAS: an LSTM that decides the choices of a space one after another (Pham et al., ICML 2018).

    p(a) = product over choices i of p(a_i | a_1 .. a_(i-1))

At each choice, in the space's order, the LSTM reads the embedding of the decision before; a linear head on its state
gives the logits of the options. Every choice has an embedding and a head of its own, as in NASNet, where the release
points at earlier nodes by attention: so it serves any space, whatever its choices are about.

Spaces may constrain their choices (a DARTS node keeps two edges at most). An option that the decisions so far rule out
gets probability 0, and the rest is normalised: what is drawn is always in the space, and its probability is exact. As
decisions have an order, a fresh controller then does not draw as the space's `sample` does: edges that come first are
kept more often, until it learns otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import require_numbers
from spark_nas.evaluation.oneshot.paths import draw
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices, SearchSpace
from spark_nas.spaces.enas_macro import SKIPS

# N: architectures, C: choices, K: options of a choice, H: units of the LSTM.

INITIAL = 0.1
"""All weights start uniform in [-0.1, 0.1], as released."""
_PREFIXES = 2**15
"""Beginnings of architectures whose possible continuations are remembered."""


@dataclass(frozen=True)
class ControllerOptions:
    """What the controller is made of; defaults are those of ENAS's search for image cells (`enas.Enas`)."""

    hidden: int = 64
    """Units of the LSTM."""
    layers: int = 1
    """LSTMs upon one another."""
    temperature: float = 1.0
    """What logits are divided by, before the tanh."""
    tanh_constant: float = 1.10
    """c of c * tanh(logits), which keeps the policy from being too sure; 0 leaves logits as they are."""
    operation_divisor: float = 2.5
    """What the logits of operations, but not those of inputs and skips, are divided by, after the tanh."""
    convolution_logit: float = 10.0
    """Where the logits of convolutions start, before the tanh. So large a one means that the tanh is at its end: the
    release hardly tells one convolution from another. 0 favours none."""
    convolution_offset: float = 0.25
    """Added to the logits of convolutions, and taken from those of other operations, after the tanh; it is not learnt.
    (The release does this in the normal cell only.)"""
    distance_penalty: bool = False
    """Whether node i reads node j with (i - j)**2 / 12 taken from the logit, so that chains are favoured."""

    def __post_init__(self) -> None:
        require_numbers(self, hidden=1, layers=1, tanh_constant=0, convolution_logit=0, convolution_offset=0)
        for key in ("temperature", "operation_divisor"):
            if not 0 < getattr(self, key) < math.inf:
                raise OptionError(key, getattr(self, key), "must be a number above 0")


class Rollout(NamedTuple):
    """Architectures decided by a controller, and what it thought at each decision."""

    decisions_NC: Tensor
    """Indices of options, int64."""
    log_p: tuple[Tensor, ...]
    """Of each choice, given the decisions before it: log-probabilities [N, K], -inf where ruled out."""

    def log_p_of_decisions(self) -> Tensor:
        """[N, C]; the log-probability of an architecture is the sum of its row."""
        pairs = zip(self.log_p, self.decisions_NC.unbind(1), strict=True)
        return torch.stack([log_p_NK.gather(1, chosen_N[:, None])[:, 0] for log_p_NK, chosen_N in pairs], dim=1)

    def entropies(self) -> Tensor:
        """[N, C], in nats, of the whole distribution at each decision."""
        return torch.stack([entropy_of(log_p_NK) for log_p_NK in self.log_p], dim=1)


def entropy_of(log_p_NK: Tensor) -> Tensor:
    """[N]; what is ruled out counts nothing, in the gradient too."""
    return -(log_p_NK.exp() * log_p_NK.masked_fill(log_p_NK.isinf(), 0.0)).sum(1)


def is_input(choice: Choice) -> bool:
    """Whether a choice is which of the earlier states a node reads; its options are their numbers."""
    return choice.name.split("/")[-1] == "input" and all(option.isdecimal() for option in choice.options)


def is_skip(choice: Choice) -> bool:
    """Whether a choice is a skip connection, taken or not."""
    return choice.options == SKIPS


class Controller(nn.Module):
    """The policy over the architectures of a space."""

    def __init__(self, space: SearchSpace, options: ControllerOptions) -> None:
        super().__init__()
        self._choices, self._space, self._options = space.choices, space, options
        hidden, sizes = options.hidden, [len(choice.options) for choice in space.choices]
        self.start = nn.Parameter(torch.empty(1, hidden))
        self.lstm = nn.ModuleList(nn.LSTMCell(hidden, hidden, bias=False) for _ in range(options.layers))
        self.heads = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.embeddings = nn.ModuleList(nn.Embedding(size, hidden) for size in sizes[:-1])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL)
        divisors = [1.0 if is_input(c) or is_skip(c) else options.operation_divisor for c in space.choices]
        self._scales = [(options.tanh_constant or 1.0) / divisor for divisor in divisors]
        self.offset_CK: Tensor
        self.register_buffer("offset_CK", torch.zeros(len(sizes), max(sizes)), persistent=False)
        self._favour()
        # A space that inherits `contains` has independent choices: nothing is ever ruled out.
        self._constrained = getattr(type(space), "contains", None) is not IndependentChoices.contains
        self._possible = lru_cache(_PREFIXES)(self._find_possible)

    def sample(self, count: int) -> Rollout:
        """`count` architectures drawn by the policy, from torch's generator for the controller's device."""
        return self._unroll(count, lambda _, log_p_NK: draw(log_p_NK))

    def greedy(self) -> Rollout:
        """The one architecture of which each decision is the most probable, given those before it."""
        return self._unroll(1, lambda _, log_p_NK: log_p_NK.argmax(1))

    def replay(self, decisions_NC: Tensor) -> Rollout:
        """What the controller thinks of given architectures, which must be in the space."""
        return self._unroll(len(decisions_NC), lambda index, _: decisions_NC[:, index])

    def architectures(self, decisions_NC: Tensor) -> list[Architecture]:
        """The decisions by name."""
        return [
            Architecture({c.name: c.options[index] for c, index in zip(self._choices, row, strict=True)})
            for row in decisions_NC.tolist()
        ]

    def _unroll(self, count: int, decide: Callable[[int, Tensor], Tensor]) -> Rollout:
        """Go through all choices; `decide(choice's index, log_p_NK)` gives the option of each architecture."""
        x_NH = self.start.expand(count, -1)
        states = [(torch.zeros_like(x_NH), torch.zeros_like(x_NH)) for _ in self.lstm]
        decisions, log_p = list[Tensor](), list[Tensor]()
        for index in range(len(self._choices)):
            for layer, cell in enumerate(self.lstm):
                states[layer] = cell(x_NH, states[layer])
                x_NH = states[layer][0]
            logits_NK = self._logits(index, x_NH)
            if self._constrained:
                logits_NK = logits_NK.masked_fill(~self._allowed(decisions, count).to(logits_NK.device), -math.inf)
            log_p.append(logits_NK.log_softmax(1))
            decisions.append(decide(index, log_p[-1]))
            if index < len(self.embeddings):
                x_NH = self.embeddings[index](decisions[-1])
        return Rollout(torch.stack(decisions, dim=1), tuple(log_p))

    def _logits(self, index: int, x_NH: Tensor) -> Tensor:
        logits_NK: Tensor = self.heads[index](x_NH) / self._options.temperature
        if self._options.tanh_constant:
            logits_NK = logits_NK.tanh()
        return self._scales[index] * logits_NK + self.offset_CK[index, : logits_NK.shape[1]]

    @torch.no_grad()
    def _favour(self) -> None:
        """Where logits start, and what is added to them for good."""
        options = self._options
        for choice, head, offset_K in zip(self._choices, self.heads, self.offset_CK, strict=True):
            bias_K = head.get_parameter("bias").zero_()
            if is_input(choice):
                if options.distance_penalty:
                    states = torch.tensor([float(option) for option in choice.options])
                    # A node may read all states before it, so its own number is the next.
                    offset_K[: len(states)] = -((states.max() + 1 - states) ** 2) / 12
                continue
            convolutions = torch.tensor(["conv" in option for option in choice.options])
            if convolutions.any():
                bias_K[convolutions] = options.convolution_logit
                offset_K[: len(convolutions)] = torch.where(convolutions, 1.0, -1.0) * options.convolution_offset

    def _allowed(self, decisions: Sequence[Tensor], count: int) -> Tensor:
        """[N, K] bool on the CPU: the options of the next choice that leave each architecture in the space."""
        prefixes = torch.stack(tuple(decisions), dim=1).tolist() if decisions else [[]] * count
        return torch.tensor([self._possible(tuple(prefix)) for prefix in prefixes])

    def _find_possible(self, prefix: tuple[int, ...]) -> tuple[bool, ...]:
        """Whether each option may follow. Raises ValueError where none may, as the space then has a dead end."""
        choice = self._choices[len(prefix)]
        decided = {c.name: c.options[index] for c, index in zip(self._choices, prefix, strict=False)}
        possible = tuple(
            self._space.contains(Architecture({**decided, choice.name: option})) for option in choice.options
        )
        if not any(possible):
            raise ValueError(f"the space {self._space.name} has no option left at {choice.name!r} after {decided}")
        return possible
