"""The network of a recurrent ENAS cell (Pham, Guan, Zoph, Le and Dean, ICML 2018, sections 2.1 and 3.1).

    [c, h'] = [x, h] W_1     k_1 = h + sigmoid(c) * (f_1(h') - h)
    [c, h'] = k_j W_{i,j}    k_i = k_j + sigmoid(c) * (f_i(h') - k_j)       output = mean of the k that no node reads

A matrix belongs to a pair of nodes, as in the paper (the release has one for each activation beside), and is the
module of the option `j` of the choice of node i's input. A node's edges have the products of the weights of both its
choices. The loose ends, too, follow the weights: a node counts with the product, over all later ones, of 1 minus the
weight with which they read it, so that for a path it is the plain mean of what no node reads.

The search form (`affine=False`) normalises the output by a batch norm without scale and shift, which keeps the outputs
of different cells comparable (section 3.1; the release normalises the products too).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Plain, Probe, Weight, mixed, plain
from spark_nas.evaluation.networks.recurrent import Plan, RecurrentNetwork, column, nameplate, readings
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.enas_rnn import EnasRnn
from spark_nas.spaces.recurrent import RecurrentScale


def initial(hidden: int) -> float:
    """Matrices start uniform in [-r, r]; r of the released code."""
    return 0.1 if hidden <= 300 else 0.05 if hidden <= 400 else 0.04


class EnasRnnCell(nn.Module):
    """The choices of a cell, with the matrices that are options of some, and in the search form the norm."""

    def __init__(self, options: EnasRnn, architecture: Architecture, scale: RecurrentScale, *, affine: bool) -> None:
        super().__init__()
        hidden = scale.hidden
        self.numbers = options.numbers
        self.input = nn.Parameter(torch.empty(scale.embedding + hidden, 2 * hidden))
        self.inputs = nn.ModuleDict()
        self.activations = nn.ModuleDict()
        for choice in options.build().choices:
            number, decides = choice.name.removeprefix("node").split("/")
            if decides == "input":
                self.inputs[number] = mixed(choice, architecture, lambda _: nn.Linear(hidden, 2 * hidden, bias=False))
            else:
                self.activations[number] = mixed(choice, architecture, nameplate)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -initial(hidden), initial(hidden))
        self.norm = nn.Identity() if affine else nn.BatchNorm1d(hidden, affine=False)

    def plan(self, gates: Gates | None, like: Tensor) -> Plan:
        """States are numbered from 0, nodes from 1: node i makes state i - 1."""
        inputs = [_weights(self.inputs, number, gates) for number in self.numbers[1:]]
        activations = [_weights(self.activations, number, gates) for number in self.numbers]
        first = readings({0: activations[0]}, lambda _: like, like)
        nodes = tuple(
            readings(_edges(sources, options), self._matrix(number), like)
            for number, sources, options in zip(self.numbers[1:], inputs, activations[1:], strict=True)
        )
        return Plan(first, nodes, (), self._output(_looseness(inputs), like))

    def _matrix(self, number: int) -> Callable[[tuple[int, ...]], Tensor]:
        def matrix(states: tuple[int, ...]) -> Tensor:
            options = _mixed(self.inputs, number).options
            matrices = [options[str(state + 1)].get_parameter("weight").t() for state in states]
            return matrices[0] if len(matrices) == 1 else torch.stack(matrices)

        return matrix

    def _output(self, looseness: Sequence[Plain], like: Tensor) -> Callable[[list[Tensor]], Tensor]:
        loose = [state for state, weight in enumerate(looseness) if isinstance(weight, Tensor) or weight != 0.0]
        weights = column([looseness[state] for state in loose], like)
        if isinstance(weights, Tensor):
            weights = weights / weights.sum()

        def output(states: list[Tensor]) -> Tensor:
            if len(loose) == 1:
                mean_BH = states[loose[0]]
            else:
                mean_BH = (torch.stack([states[state] for state in loose]) * weights).sum(0)
            normed_BH: Tensor = self.norm(mean_BH)
            return normed_BH

        return output


def _mixed(choices: nn.ModuleDict, number: int) -> MixedOperation:
    operation = choices[str(number)]
    assert isinstance(operation, MixedOperation)  # ModuleDict forgets its type
    return operation


def _weights(choices: nn.ModuleDict, number: int, gates: Gates | None) -> Mapping[str, Weight]:
    return _mixed(choices, number).weights(gates)


def _edges(sources: Mapping[str, Weight], options: Mapping[str, Weight]) -> dict[int, dict[str, Weight]]:
    """State -> activation -> the product of the weights of the node's two choices; it probes if one of them does."""
    return {
        int(source) - 1: {option: _product(weight, other) for option, other in options.items()}
        for source, weight in sources.items()
    }


def _product(left: Weight, right: Weight) -> Weight:
    both = plain(left) * plain(right)
    return Probe(torch.as_tensor(both)) if isinstance(left, Probe) or isinstance(right, Probe) else both


def _looseness(inputs: Sequence[Mapping[str, Weight]]) -> list[Plain]:
    """Of each state, how little of it is read: 1 for a loose end of a path, 0 for what a node of a path reads."""
    looseness: list[Plain] = [1.0] * (len(inputs) + 1)
    for sources in inputs:
        for source, weight in sources.items():
            looseness[int(source) - 1] = looseness[int(source) - 1] * (1.0 - plain(weight))
    return looseness


class EnasRnnNetwork(RecurrentNetwork):
    """The whole network; [T, B] tokens -> logits [T * B, classes]."""

    def __init__(
        self,
        options: EnasRnn,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        scale = options.scale(recipe)
        cell = EnasRnnCell(options, architecture, scale, affine=affine)
        super().__init__(cell, scale, classes, initial(scale.hidden))
