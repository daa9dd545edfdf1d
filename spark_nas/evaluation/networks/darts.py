"""The network of a pair of DARTS cells (Liu, Simonyan and Yang, ICLR 2019, section 3 and appendix A).

A stem of 3 C0 channels, `layers` cells of which those at `layers // 3` and `2 * layers // 3` reduce, the mean,
the classes. One class serves search and evaluation; `affine=False` gives the search form (batch norms without
scale and shift, also after the pools), `affine=True` the derived one. A child computes what its path computes
in a supernet of the same form.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, mixed, sum_of
from spark_nas.evaluation.networks.operations import DropPath, FactorisedReduce, darts_operation, relu_conv_bn
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import CELLS, NODES, Darts, choice_name
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.settings import fraction

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
        drop_path: bool,
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
                self.edges[edge] = mixed(choice, architecture, _maker(channels, stride, affine, drop_path))

    def forward(self, older_BCHW: Tensor, newer_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """[B, 4 channels, H', W'] of the outputs of the two cells before."""
        states = [self.older(older_BCHW), self.newer(newer_BCHW)]
        for node in NODES:
            edges = [self._edge(source, node) for source in range(node)]
            states.append(sum_of(edges, states, gates))
        return torch.cat(states[2:], dim=1)

    def _edge(self, source: int, node: int) -> MixedOperation:
        edge = self.edges[choice_name(self.kind, source, node).split("/")[1]]
        assert isinstance(edge, MixedOperation)  # ModuleDict forgets its type
        return edge


class _Maker:
    """Makes the options of an edge; drop-path follows all but the identity, as in the paper's code."""

    def __init__(self, channels: int, stride: int, affine: bool, drop_path: bool) -> None:
        self.channels, self.stride, self.affine, self.drop_path = channels, stride, affine, drop_path

    def __call__(self, name: str) -> nn.Module:
        operation = darts_operation(name, self.channels, self.stride, affine=self.affine)
        if not self.drop_path or name == "none" or isinstance(operation, nn.Identity):
            return operation
        return Dropped(operation)


class Dropped(nn.Module):
    """An operation followed by drop-path."""

    def __init__(self, operation: nn.Module) -> None:
        super().__init__()
        self.operation = operation
        self.drop = DropPath()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """The operation's output, some examples of it dropped while training."""
        y_BCHW: Tensor = self.drop(self.operation(x_BCHW))
        return y_BCHW


def _maker(channels: int, stride: int, affine: bool, drop_path: bool) -> _Maker:
    return _Maker(channels, stride, affine, drop_path)
