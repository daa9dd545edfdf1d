"""The network of a pair of ENAS cells (Pham et al., ICML 2018, section 2.4, and released code).

A stem of 3 F channels, `layers` normal cells and two reduction cells, ReLU, mean, dropout, classes. One class serves
search and evaluation, and it has the search's form: a reduction cell's inputs are halved before the cell, so that all
its states have one shape, and a 1x1 convolution with weights of its own for each loose end takes their
concatenation back to F channels. The released code trains what it found in another form (strides inside the cell,
the concatenation handed on as it is); there a child would not compute what its path computes. Two things are as in
that other form and the paper, not as in the released search: a reduction cell reads cells k-2 and k-1 (the search
code loses k-2 on the way), and in evaluation mode batch norms use running statistics.

Every input of every side of a node has operations of its own, so weights are indexed by (node, side, input,
operation) and names nest in that order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn

from spark_nas.evaluation.networks.darts import AuxiliaryHead
from spark_nas.evaluation.networks.enas_operations import LinearReduce, micro_operation
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Probe, mixed, weighed
from spark_nas.evaluation.networks.operations import FactorisedReduce, relu_conv_bn
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.enas_micro import CELLS, SIDES, EnasMicro, choice_name, loose_ends, node_states
from spark_nas.spaces.settings import fraction

# x_BCHW: batch, channels, height, width.


class Side(MixedOperation):
    """One of the two terms of a node: sum over inputs p of g_p * (sum over operations o of g_o * op_{p,o}(state p)).

    The options of the choice of the input are the mixed operations on each input; those in turn have the options of
    the choice of the operation.
    """

    def reads(self, gates: Gates | None) -> set[int]:
        """The states that it uses: those whose gate is named, however small; a probe only asks, and uses nothing."""
        return {int(state) for state, weight in self.weights(gates).items() if not isinstance(weight, Probe)}

    def forward(self, states: Sequence[Tensor], gates: Gates | None = None) -> Tensor:  # type: ignore[override]
        """[B, C, H, W] from all earlier states, which have that shape: its options differ in what they read."""
        total: Tensor | None = None
        for state, weight in self.weights(gates).items():
            y_BCHW = weighed(self.options[state], weight, states[int(state)], gates)
            total = y_BCHW if total is None else total + y_BCHW
        assert total is not None  # there is at least one weight
        return total


class Cell(nn.Module):
    """Two inputs, the nodes, and the loose ends."""

    def __init__(
        self, options: EnasMicro, architecture: Architecture, channels: int, *, kind: str, affine: bool
    ) -> None:
        super().__init__()
        choices = {choice.name: choice for choice in options.build().choices}
        make = partial(micro_operation, channels=channels, affine=affine)
        self.nodes = node_states(options.nodes)
        self.sides = nn.ModuleDict()
        for node, side in product(self.nodes, SIDES):
            source = choices[choice_name(kind, node, side, "input")]
            operation = choices[choice_name(kind, node, side, "operation")]
            decided = architecture.get(source.name)
            states = source.options if decided is None else (decided,)
            inputs = {state: mixed(operation, architecture, make) for state in states}
            self.sides[f"{node}/{side}"] = Side(source.name, inputs, decided=decided is not None)
        self.ends = nn.ModuleDict(
            {
                str(state): nn.Sequential(nn.ReLU(), nn.Conv2d(channels, channels, 1, bias=False))
                for state in loose_ends(architecture, kind, options.nodes)
            }
        )
        self.norm = nn.BatchNorm2d(channels, affine=affine)

    def forward(self, older_BCHW: Tensor, newer_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Same shape as the inputs. A state is loose that no gate names, also when several name inputs of a side."""
        states, used = [older_BCHW, newer_BCHW], set[int]()
        for node in self.nodes:
            left, right = self._side(node, "left"), self._side(node, "right")
            states.append(left(states, gates) + right(states, gates))
            used |= left.reads(gates) | right.reads(gates)
        # One convolution of the concatenation is the sum of a convolution of each part.
        ends = [self.ends[str(state)](x_BCHW) for state, x_BCHW in enumerate(states) if state not in used]
        normed_BCHW: Tensor = self.norm(sum(ends[1:], start=ends[0]))
        return normed_BCHW

    def _side(self, node: int, side: str) -> Side:
        term = self.sides[f"{node}/{side}"]
        assert isinstance(term, Side)  # ModuleDict forgets its type
        return term


class Layer(nn.Module):
    """A cell, with what brings the outputs of the two layers before to its resolution and number of channels."""

    def __init__(
        self,
        options: EnasMicro,
        architecture: Architecture,
        inputs: tuple[int, int],
        channels: int,
        *,
        reduces: bool,
        after_reduction: bool,
        affine: bool,
    ) -> None:
        super().__init__()
        older, newer = inputs
        if reduces or after_reduction:
            self.older: nn.Module = FactorisedReduce(older, channels, affine=affine)
        else:
            self.older = _to_channels(older, channels, affine)
        self.newer = LinearReduce(newer, channels, affine=affine) if reduces else _to_channels(newer, channels, affine)
        self.cell = Cell(options, architecture, channels, kind=CELLS[reduces], affine=affine)

    def forward(self, older_BCHW: Tensor, newer_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """[B, channels, H', W'] of the outputs of the two layers before."""
        x_BCHW: Tensor = self.cell(self.older(older_BCHW), self.newer(newer_BCHW), gates)
        return x_BCHW


def _to_channels(inputs: int, outputs: int, affine: bool) -> nn.Module:
    return nn.Identity() if inputs == outputs else relu_conv_bn(inputs, outputs, 1, affine=affine)


class EnasMicroNetwork(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes].

    With `auxiliary` it returns, while training, the pair (logits, auxiliary logits).
    """

    def __init__(
        self,
        options: EnasMicro,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        layers, channels = options.scale(recipe)
        reductions = (layers // 3, 2 * (layers // 3) + 1)
        self.auxiliary_at = reductions[1] + 1
        stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.layers = nn.ModuleList()
        inputs, after_reduction = (stem, stem), False
        for index in range(layers + len(reductions)):
            reduces = index in reductions
            channels = 2 * channels if reduces else channels
            form = {"reduces": reduces, "after_reduction": after_reduction, "affine": affine}
            self.layers.append(Layer(options, architecture, inputs, channels, **form))
            inputs, after_reduction = (inputs[1], channels), reduces
        self.auxiliary = AuxiliaryHead(channels, classes) if options.auxiliary else None
        self.dropout = nn.Dropout(fraction(recipe, "dropout", options.dropout))
        self.classifier = nn.Linear(channels, classes, bias=False)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, classes], with the auxiliary ones while training a network that has them."""
        older_BCHW = newer_BCHW = self.stem(x_BCHW)
        auxiliary_BK: Tensor | None = None
        for index, layer in enumerate(self.layers):
            older_BCHW, newer_BCHW = newer_BCHW, layer(older_BCHW, newer_BCHW, gates)
            if self.auxiliary is not None and self.training and index == self.auxiliary_at:
                auxiliary_BK = self.auxiliary(newer_BCHW)
        features_BC = torch.relu(newer_BCHW).mean(dim=(2, 3))
        logits_BK: Tensor = self.classifier(self.dropout(features_BC))
        return logits_BK if auxiliary_BK is None else (logits_BK, auxiliary_BK)
