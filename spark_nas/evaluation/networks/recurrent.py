"""What networks of recurrent cells share: highway nodes, their unrolling over a text, and what stands around the cell.

    embedding -> masks -> cell, unrolled over the window -> mask -> decoder, whose weights are the embedding's

A node reads a state s through a matrix, [c, h] = s W, and makes s + sigmoid(c) * (f(h) - s) of it, f being an
activation (recurrent highway networks: Zilly et al., ICML 2017; Liu, Simonyan and Yang, ICLR 2019, released code; Pham
et al., ICML 2018, section 3.1). What the gates say is worked out once a window (`Plan`), as the loop over its time
steps is the hot path; and the input's part of the first product is taken for all steps at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.mixed import Gates, Plain, Probe, Weight, plain
from spark_nas.spaces.recurrent import RecurrentScale

# T: time steps of a window, B: columns of text, E: units of a token's vector, H: units of a state, V: tokens in all.
# K: states that a node reads; without K where it is one.

FUNCTIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "sigmoid": torch.sigmoid,
    "identity": lambda h_BH: h_BH,
}


def nameplate(_option: str) -> nn.Module:
    """What stands for an activation in a mixed operation: it has no parameters, and runs once for all of a node."""
    return nn.Identity()


@dataclass(frozen=True, slots=True)
class Reading:
    """The states that a node reads through one product, and the weights of what it makes of them."""

    sources: tuple[int, ...]
    matrix: Tensor
    """[H, 2H], or [K, H, 2H] where each of several sources has a matrix of its own."""
    mixture: tuple[tuple[Callable[[Tensor], Tensor], Plain], ...]
    """Activations and their weights: numbers or scalars, [K, 1, 1] where there are several sources."""
    carry: Plain
    """The sum of the weights, as each activation carries its part of the state."""
    probed: bool
    """Whether only the weights learn (`mixed.Probe`)."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a cell does at each time step of a window."""

    first: tuple[Reading, ...]
    """Of the first state, from the input and the state before; their sources are not used."""
    nodes: tuple[tuple[Reading, ...], ...]
    """Of the others, in order."""
    norms: tuple[nn.Module, ...]
    """One for each state, or none at all."""
    output: Callable[[list[Tensor]], Tensor]
    """What the states make together."""
    idle: Tensor | None = None
    """A zero that depends on the weights of `none`, whose gradients shall be 0 and not absent."""


Edges = Mapping[int, Mapping[str, Weight]]
"""source -> option -> weight."""


def readings(edges: Edges, matrix: Callable[[tuple[int, ...]], Tensor], like: Tensor) -> tuple[Reading, ...]:
    """What a node reads: nothing, one product of all sources with plain weights, one of those probed, or both.

    `matrix` gives the matrix for some sources; `like` has the states' type and device. `none` is left out.
    """
    made = []
    for probed in (False, True):
        weights: dict[int, dict[str, Plain]] = {}
        for source, options in edges.items():
            for option, weight in options.items():
                if option != "none" and isinstance(weight, Probe) == probed:
                    weights.setdefault(source, {})[option] = plain(weight)
        if weights:
            matrix_H2H = matrix(tuple(weights))
            made.append(_reading(weights, matrix_H2H.detach() if probed else matrix_H2H, like, probed=probed))
    return tuple(made)


def _reading(weights: Mapping[int, Mapping[str, Plain]], matrix: Tensor, like: Tensor, *, probed: bool) -> Reading:
    options = dict.fromkeys(option for row in weights.values() for option in row)
    columns = [column([row.get(option, 0.0) for row in weights.values()], like) for option in options]
    mixture = tuple((FUNCTIONS[option], weight) for option, weight in zip(options, columns, strict=True))
    return Reading(tuple(weights), matrix, mixture, sum(columns[1:], start=columns[0]), probed)


def column(weights: Sequence[Plain], like: Tensor) -> Plain:
    """The weight itself where there is one, [K, 1, 1] where there are several."""
    if len(weights) == 1:
        return weights[0]
    if not any(isinstance(weight, Tensor) for weight in weights):
        return torch.tensor(weights, dtype=like.dtype, device=like.device).view(-1, 1, 1)
    return torch.stack([torch.as_tensor(w, dtype=like.dtype, device=like.device) for w in weights]).view(-1, 1, 1)


def idle(edges: Iterable[Edges]) -> Tensor | None:
    """0 times the weights of `none` that are tensors, or None where there are no such."""
    weights = (plain(options["none"]) for read in edges for options in read.values() if "none" in options)
    tensors = [weight for weight in weights if isinstance(weight, Tensor)]
    return torch.stack(tensors).sum() * 0.0 if tensors else None


def highway(reading: Reading, state_BH: Tensor, product_B2H: Tensor) -> Tensor:
    """[B, H]: the sum over sources and activations of weight * (s + sigmoid(c) * (f(h) - s)); with K, [K, B, ...]."""
    c_BH, h_BH = product_B2H.chunk(2, dim=-1)
    mixed_BH: Tensor | None = None
    for function, weight in reading.mixture:
        made_BH = function(h_BH)
        if isinstance(weight, Tensor) or weight != 1.0:
            made_BH = made_BH * weight
        mixed_BH = made_BH if mixed_BH is None else mixed_BH + made_BH
    assert mixed_BH is not None  # a reading has at least one activation
    if isinstance(reading.carry, Tensor) or reading.carry != 1.0:
        state_BH = state_BH * reading.carry
    new_BH = state_BH + c_BH.sigmoid() * (mixed_BH - state_BH)
    return new_BH.sum(0) if len(reading.sources) > 1 else new_BH


def node(parts: tuple[Reading, ...], states: list[Tensor], mask_BH: Tensor | None) -> Tensor:
    """A node's state [B, H], from those before; zeros where it reads nothing."""
    total_BH: Tensor | None = None
    for part in parts:
        several = len(part.sources) > 1
        state = torch.stack([states[source] for source in part.sources]) if several else states[part.sources[0]]
        if part.probed:
            state = state.detach()
        new_BH = highway(part, state, _masked(state, mask_BH) @ part.matrix)
        total_BH = new_BH if total_BH is None else total_BH + new_BH
    return torch.zeros_like(states[0]) if total_BH is None else total_BH


def unroll(plan: Plan, projected_TB2H: Tensor, matrix_H2H: Tensor, state_BH: Tensor, mask_BH: Tensor | None) -> Tensor:
    """The outputs [T, B, H] of a cell; each is the state that the next time step starts from.

    Args:
        plan: what the cell does.
        projected_TB2H: the input's part of [c0, h0].
        matrix_H2H: the matrix of the state's part, [H, 2H].
        state_BH: what the window starts from.
        mask_BH: the dropout of all states that a matrix reads; None drops nothing.
    """
    outputs = []
    for projected_B2H in projected_TB2H.unbind(0):
        product_B2H = torch.addmm(projected_B2H, _masked(state_BH, mask_BH), matrix_H2H)
        states = [_first(plan.first, state_BH, product_B2H)]
        if plan.norms:
            states[0] = plan.norms[0](states[0])
        for number, parts in enumerate(plan.nodes, start=1):
            new_BH = node(parts, states, mask_BH)
            states.append(plan.norms[number](new_BH) if plan.norms else new_BH)
        state_BH = plan.output(states)
        outputs.append(state_BH)
    output_TBH = torch.stack(outputs)
    return output_TBH if plan.idle is None else output_TBH + plan.idle


def _first(parts: tuple[Reading, ...], state_BH: Tensor, product_B2H: Tensor) -> Tensor:
    made = [
        highway(part, state_BH.detach(), product_B2H.detach()) if part.probed else highway(part, state_BH, product_B2H)
        for part in parts
    ]
    return made[0] if len(made) == 1 else torch.stack(made).sum(0)


def _masked(state_BH: Tensor, mask_BH: Tensor | None) -> Tensor:
    return state_BH if mask_BH is None else state_BH * mask_BH


class Cell(Protocol):
    """What a recurrent space builds."""

    input: nn.Parameter
    """[E + H, 2H]: the matrix of the first state."""

    def plan(self, gates: Gates | None, like: Tensor) -> Plan:
        """What to do under some gates; raises ValueError as `mixed.MixedOperation.weights` does."""
        ...


def kept(shape: tuple[int, ...], rate: float, like: Tensor) -> Tensor:
    """A mask of 0 with probability `rate` and 1 / (1 - rate) otherwise, drawn from torch's generator."""
    return torch.empty(shape, dtype=like.dtype, device=like.device).bernoulli_(1.0 - rate).div_(1.0 - rate)


class RecurrentNetwork(nn.Module):
    """A language model; forward takes tokens x [T, B] int64 to logits [T * B, V], time first.

    The state is carried from call to call, detached and not in the state dict: `carried` [B, H], or None at the
    beginning of a text, whither `reset()` and another number of columns lead back. Nothing is dropped in
    evaluation mode.
    """

    def __init__(self, cell: nn.Module, scale: RecurrentScale, classes: int, initial: float) -> None:
        """Args: `initial`, all matrices outside the cell start uniform in [-initial, initial]; biases at 0."""
        super().__init__()
        self.cell = cell
        self.scale = scale
        same = scale.embedding == scale.hidden
        self.projection = nn.Identity() if same else nn.Linear(scale.hidden, scale.embedding, bias=False)
        # One tensor [V, E] is embedding and decoder; as the weights of the decoder it has one name.
        self.classifier = nn.Linear(scale.embedding, classes)
        for parameter in (*self.projection.parameters(), self.classifier.weight):
            nn.init.uniform_(parameter, -initial, initial)
        nn.init.zeros_(self.classifier.bias)
        self.carried: Tensor | None = None

    def reset(self) -> None:
        """Begin a text: the next window starts from zeros."""
        self.carried = None

    def forward(self, x_TB: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [T * B, V] of the tokens that come next."""
        state_BH = self._start(x_TB)
        cell: Cell = self.cell  # type: ignore[assignment] # nn.Module forgets it
        plan = cell.plan(gates, state_BH)
        matrix_E2H, matrix_H2H = torch.split(cell.input, [self.scale.embedding, self.scale.hidden])
        mask_BH = self._mask(state_BH, state_BH, self.scale.dropout_hidden)
        output_TBH = unroll(plan, self._embedded(x_TB) @ matrix_E2H, matrix_H2H, state_BH, mask_BH)
        # A copy, lest the whole window be kept.
        self.carried = output_TBH[-1].detach().clone()
        output_TBH = _masked(output_TBH, self._mask(state_BH, output_TBH[0], self.scale.dropout_output))
        logits_NV: Tensor = self.classifier(self.projection(output_TBH.flatten(0, 1)))
        return logits_NV

    def _start(self, x_TB: Tensor) -> Tensor:
        weight, columns = self.classifier.weight, x_TB.shape[1]
        if self.carried is None or len(self.carried) != columns or self.carried.device != weight.device:
            return weight.new_zeros(columns, self.scale.hidden)
        # A copy: what was carried out of inference mode could not take part in a graph.
        return self.carried.clone()

    def _embedded(self, x_TB: Tensor) -> Tensor:
        weight, scale = self.classifier.weight, self.scale
        embedded_TBE = functional.embedding(x_TB, weight)
        if self.training and scale.dropout_embedding > 0:
            words_V1 = kept((len(weight), 1), scale.dropout_embedding, weight)
            embedded_TBE = embedded_TBE * functional.embedding(x_TB, words_V1)
        for rate in (scale.dropout_between, scale.dropout_input):
            embedded_TBE = _masked(embedded_TBE, self._mask(weight, embedded_TBE[0], rate))
        return embedded_TBE

    def _mask(self, like: Tensor, shaped: Tensor, rate: float) -> Tensor | None:
        """A mask for a window, or None where nothing is to be dropped."""
        return kept(tuple(shaped.shape), rate, like) if self.training and rate > 0 else None
