"""The network of a pair of DARTS cells (Liu, Simonyan and Yang, ICLR 2019, section 3 and appendix A).

A stem of 3 C0 channels, `layers` cells of which those at `layers // 3` and `2 * layers // 3` reduce, the mean,
the classes. One class serves search and evaluation; `affine=False` gives the search form (batch norms without
scale and shift, also after the pools), `affine=True` the derived one. A child computes what its path computes
in a supernet of the same form.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.evaluation.networks.fused import fusable, fused_cell
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, mixed, partial_mixed, sum_of
from spark_nas.evaluation.networks.operations import FactorisedReduce, channels_innermost, darts_operation, relu_conv_bn
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import CELLS, NODES, Darts, choice_name
from spark_nas.spaces.dimensions import RecipeValue

# x_BCHW: batch, channels, height, width.


class Cell(nn.Module):
    """Two inputs, four nodes, their concatenation."""

    def __init__(
        self,
        options: Darts,
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
        self.kind = CELLS[reduces]
        self.older = (
            FactorisedReduce(older, channels, affine=affine)
            if after_reduction
            else relu_conv_bn(older, channels, 1, affine=affine)
        )
        self.newer = relu_conv_bn(newer, channels, 1, affine=affine)
        self.edges = nn.ModuleDict()
        for choice in options.build().choices:
            cell, edge = choice.name.split("/")
            if cell == self.kind:
                stride = 2 if reduces and edge.startswith(("0-", "1-")) else 1
                # Partial channels belong to the search: a network trained for its own sake processes all of them.
                k = 1 if affine else options.partial_channels
                make = partial(darts_operation, channels=channels // k, stride=stride, affine=affine)
                self.edges[edge] = (
                    mixed(choice, architecture, make)
                    if k == 1
                    else partial_mixed(choice, architecture, make, partial=k, stride=stride)
                )

    def forward(self, older_BCHW: Tensor, newer_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """[B, 4 channels, H', W'] of the outputs of the two cells before."""
        nodes = [[self._edge(source, node) for source in range(node)] for node in NODES]
        if fusable(self, [edge for edges in nodes for edge in edges], newer_BCHW, gates):
            inputs = ((self.older, older_BCHW), (self.newer, newer_BCHW))
            return fused_cell(inputs, nodes, 1 + (self.kind == "reduction"), gates or {})
        states = [self.older(older_BCHW), self.newer(newer_BCHW)]
        for edges in nodes:
            states.append(sum_of(edges, states, gates))
        return torch.cat(states[2:], dim=1)

    def _edge(self, source: int, node: int) -> MixedOperation:
        edge = self.edges[choice_name(self.kind, source, node).split("/")[1]]
        assert isinstance(edge, MixedOperation)  # ModuleDict forgets its type
        return edge


class AuxiliaryHead(nn.Module):
    """A small classifier after the second reduction, whose loss helps the early cells."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            nn.BatchNorm2d(768),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits [B, classes]; the paper's pooling 5 stride 3 takes 8x8 to 2x2, other sizes are pooled to 2x2 too."""
        side = x_BCHW.shape[2:]
        if tuple(side) == (8, 8):
            x_BCHW = functional.avg_pool2d(x_BCHW, 5, stride=3)
        else:
            x_BCHW = functional.adaptive_avg_pool2d(x_BCHW, 2)
        logits_BK: Tensor = self.classifier(self.features(x_BCHW))
        return logits_BK


class DartsNetwork(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes].

    With `auxiliary` it returns, while training, the pair (logits, auxiliary logits).
    """

    def __init__(
        self,
        options: Darts,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        layers, channels = options.scale(recipe)
        reductions = (layers // 3, 2 * layers // 3)
        self.auxiliary_at = reductions[1]
        stem = 3 * channels
        self.stem = nn.Sequential(nn.Conv2d(input_shape[0], stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        self.cells = nn.ModuleList()
        self.auxiliary: AuxiliaryHead | None = None
        inputs, after_reduction = (stem, stem), False
        for layer in range(layers):
            reduces = layer in reductions
            channels = 2 * channels if reduces else channels
            cell = Cell(
                options,
                architecture,
                inputs,
                channels,
                reduces=reduces,
                after_reduction=after_reduction,
                affine=affine,
            )
            self.cells.append(cell)
            inputs, after_reduction = (inputs[1], len(NODES) * channels), reduces
            if options.auxiliary and layer == self.auxiliary_at:
                self.auxiliary = AuxiliaryHead(inputs[1], classes)
        self.classifier = nn.Linear(inputs[1], classes)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor | tuple[Tensor, Tensor]:
        """Logits [B, classes], with the auxiliary ones while training a network that has them."""
        older_BCHW = newer_BCHW = self.stem(channels_innermost(x_BCHW))
        auxiliary_BK: Tensor | None = None
        for layer, cell in enumerate(self.cells):
            older_BCHW, newer_BCHW = newer_BCHW, cell(older_BCHW, newer_BCHW, gates)
            if self.auxiliary is not None and self.training and layer == self.auxiliary_at:
                auxiliary_BK = self.auxiliary(newer_BCHW)
        logits_BK: Tensor = self.classifier(newer_BCHW.mean(dim=(2, 3)))
        return logits_BK if auxiliary_BK is None else (logits_BK, auxiliary_BK)
