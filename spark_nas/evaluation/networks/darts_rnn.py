"""The network of a recurrent DARTS cell (Liu, Simonyan and Yang, ICLR 2019, section 3.3 and released code).

    [c0, h0] = [x, h] W0     s0 = h + sigmoid(c0) * (tanh(h0) - h)
    [c, h']  = s W_i         s_i = sum over edges (s, f) of weight * (s + sigmoid(c) * (f(h') - s))
    output   = mean of s_1 .. s_8

W_i belongs to the node, whatever it reads and does. The search form (`affine=False`) normalises every state by a batch
norm without scale and shift, unless `search_norm` is off. Each norm has statistics of its own, where the release has
one module for all nine, whose running statistics then suit none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, mixed
from spark_nas.evaluation.networks.recurrent import Plan, Reading, RecurrentNetwork, idle, nameplate, readings
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts_rnn import DartsRnn, choice_name
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.recurrent import RecurrentScale

INITIAL = 0.04
"""Matrices start uniform in [-0.04, 0.04]."""


_FIRST = Reading((), torch.empty(0), ((torch.tanh, 1.0),), 1.0, probed=False)
"""How the first state comes about: there is nothing to choose."""


class DartsRnnCell(nn.Module):
    """The matrices, the edges and, in the search form, the norms of a cell."""

    def __init__(self, options: DartsRnn, architecture: Architecture, scale: RecurrentScale, *, affine: bool) -> None:
        super().__init__()
        hidden = scale.hidden
        self.numbers = options.numbers
        self.input = nn.Parameter(torch.empty(scale.embedding + hidden, 2 * hidden))
        self.nodes = nn.ParameterList([torch.empty(hidden, 2 * hidden) for _ in options.numbers])
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -INITIAL, INITIAL)
        self.edges = nn.ModuleDict(
            {choice.name: mixed(choice, architecture, nameplate) for choice in options.build().choices}
        )
        norms = 0 if affine or not options.search_norm else options.nodes + 1
        self.norms = nn.ModuleList(nn.BatchNorm1d(hidden, affine=False) for _ in range(norms))

    def plan(self, gates: Gates | None, like: Tensor) -> Plan:
        """One product a node, of all the states that it reads."""
        edges = [
            {source: self._edge(source, number).weights(gates) for source in range(number)} for number in self.numbers
        ]
        nodes = tuple(
            readings(read, self._matrix(number), like) for number, read in zip(self.numbers, edges, strict=True)
        )
        return Plan((_FIRST,), nodes, tuple(self.norms), _mean_of_nodes, idle(edges))

    def _edge(self, source: int, number: int) -> MixedOperation:
        edge = self.edges[choice_name(source, number)]
        assert isinstance(edge, MixedOperation)  # ModuleDict forgets its type
        return edge

    def _matrix(self, number: int) -> Callable[[tuple[int, ...]], Tensor]:
        """The node's own, whatever it reads."""
        return lambda _: self.nodes[number - 1]


def _mean_of_nodes(states: list[Tensor]) -> Tensor:
    return torch.stack(states[1:]).mean(0)


class DartsRnnNetwork(RecurrentNetwork):
    """The whole network; [T, B] tokens -> logits [T * B, classes]."""

    def __init__(
        self,
        options: DartsRnn,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        scale = options.scale(recipe)
        super().__init__(DartsRnnCell(options, architecture, scale, affine=affine), scale, classes, INITIAL)
