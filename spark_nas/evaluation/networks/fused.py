"""A DARTS cell of which several options an edge run, computed in fewer and faster operations.

The same numbers as the plain sum of operations, up to the order of float additions, from the same parameters and
buffers:

- all edges out of a state share its ReLU, its pools and their batch statistics (`fused_source`);
- the gate of a convolution is the scale of its last batch norm, so its output is not kept for the gate's gradient;
- examples stand beside channels in memory, which is what makes small convolutions fast on a CPU (`columns`).

`fusable` says where this holds; everything else takes the plain route: single paths, probes, dropped paths, affine
norms, replaced or watched modules, half precision and accelerators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from spark_nas.evaluation.networks.columns import WeightedSum, from_columns, pointwise, to_columns
from spark_nas.evaluation.networks.fused_source import Number, Source, normalised
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, PartialMixedOperation, Probe, Zero
from spark_nas.evaluation.networks.operations import DropPath, FactorisedReduce

# x_1CHM: see `columns`.

_PLAIN = {
    DropPath,
    FactorisedReduce,
    MixedOperation,
    PartialMixedOperation,
    Zero,
    nn.AvgPool2d,
    nn.BatchNorm2d,
    nn.Conv2d,
    nn.Identity,
    nn.MaxPool2d,
    nn.ModuleDict,
    nn.ReLU,
    nn.Sequential,
}


def fusable(cell: nn.Module, edges: Sequence[MixedOperation], x_BCHW: Tensor, gates: Gates | None) -> bool:
    """Whether some edge mixes, and all modules below `cell` are what they were built as and watched by nobody.

    Raises ValueError as `MixedOperation.weights` does.
    """
    weights = [edge.weights(gates).values() for edge in edges]
    if all(len(each) == 1 for each in weights) or any(isinstance(w, Probe) for each in weights for w in each):
        return False
    if x_BCHW.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return False
    # A hook must see its module run.
    watched = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
    return not watched and all(_is_plain(module) for module in cell.modules() if module is not cell)


def _is_plain(module: nn.Module) -> bool:
    if type(module) not in _PLAIN or module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
        return False
    if isinstance(module, nn.BatchNorm2d):
        return not module.affine
    return not (isinstance(module, DropPath) and module.training and module.drop_path > 0)


def fused_cell(
    inputs: Sequence[tuple[nn.Module, Tensor]], nodes: Sequence[Sequence[MixedOperation]], stride: int, gates: Gates
) -> Tensor:
    """The concatenated nodes [B, nodes * C, H', W'].

    `inputs` are the tensors x_BCHW that the cell is given, each with the module that prepares it; `nodes` the edges
    into each node, from all states before it. Edges out of the inputs have the stride.
    """
    batch = len(inputs[0][1])
    sources = [Source(_prepared(module, to_columns(x), batch), batch, stride) for module, x in inputs]
    for edges in nodes:
        sources.append(Source(_node(edges, sources, gates), batch, 1))
    return from_columns(torch.cat([source.x_1CHM for source in sources[len(inputs) :]], dim=1), batch)


def _prepared(module: nn.Module, x_1CHM: Tensor, batch: int) -> Tensor:
    if isinstance(module, FactorisedReduce):
        return Source(x_1CHM, batch, 2).reduced(module)
    _, convolution, norm = cast(nn.Sequential, module)
    assert isinstance(norm, nn.BatchNorm2d)
    return normalised(norm, pointwise(torch.relu(x_1CHM), cast(nn.Conv2d, convolution).weight.flatten(1)))


def _node(edges: Sequence[MixedOperation], sources: Sequence[Source], gates: Gates) -> Tensor:
    """The sum of a node's edges."""
    total, passed, partial = _Sum(), _Sum(), 1
    for edge, source in zip(edges, sources, strict=True):
        weights = cast(Mapping[str, Number], edge.weights(gates))  # no probes: `fusable`
        if isinstance(edge, PartialMixedOperation):
            partial = edge.partial
            passed.add(source.rest(partial), edge.whole(weights))
        for option, weight in weights.items():
            _add(total, edge.options[option], weight, source.first(partial))
    total_1cHM = total.value(sources[0].first(partial))
    if partial == 1:
        return total_1cHM
    # As `mixed.shuffled`, on channels that come last.
    both_1HMC = torch.cat([total_1cHM, passed.value(sources[0])], dim=1).permute(0, 2, 3, 1)
    both_1HMgc = both_1HMC.reshape(*both_1HMC.shape[:3], partial, -1)
    return both_1HMgc.transpose(3, 4).reshape(both_1HMC.shape).permute(0, 3, 1, 2)


def _add(total: _Sum, option: nn.Module, weight: Number, source: Source) -> None:
    """Add an option of an edge to the sum of its node."""
    if isinstance(option, Zero):
        total.add_nothing(weight)
        return
    if isinstance(option, nn.Identity):
        total.add(source.x_1CHM, weight)
        return
    operation = cast(DropPath, option).operation
    if isinstance(operation, FactorisedReduce):
        total.add_own(source.reduced(operation, weight))
    elif len(layers := cast(nn.Sequential, operation)) == 2:
        total.add(source.pooled(layers), weight)
    else:
        total.add_own(source.convolved(list(layers), weight))


class _Sum:
    """A weighted sum under way."""

    def __init__(self) -> None:
        self._total: Tensor | None = None
        self._terms: list[Tensor] = []
        self._weights: list[Tensor] = []
        self._nothing: list[Tensor] = []

    def add(self, y_1CHM: Tensor, weight: Number) -> None:
        """Add `y_1CHM * weight`."""
        if isinstance(weight, Tensor):
            self._terms.append(y_1CHM)
            self._weights.append(weight)
        else:
            self.add_own(y_1CHM * weight)

    def add_own(self, y_1CHM: Tensor) -> None:
        """Add a tensor that nobody else reads, so that it may serve as the sum."""
        self._total = y_1CHM if self._total is None else self._total.add_(y_1CHM)

    def add_nothing(self, weight: Number) -> None:
        """Add zeros times `weight`: what there is to learn is that it makes no difference."""
        if isinstance(weight, Tensor):
            self._nothing.append(weight)

    def value(self, source: Source) -> Tensor:
        """The sum; the zeros of an edge out of `source` where nothing was added."""
        if self._total is None and not self._terms:
            self._total = source.zeros()
        if not self._terms and self._nothing:
            self.add(source.zeros(), self._nothing[0])
        if self._terms:
            weighted: Tensor = WeightedSum.apply(len(self._terms), *self._terms, *self._weights, *self._nothing)  # type: ignore[no-untyped-call]
            self.add_own(weighted)
        assert self._total is not None
        return self._total
