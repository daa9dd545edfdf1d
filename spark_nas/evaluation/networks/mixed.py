"""The mixed operation: what stands where an architecture decides, or leaves open, one choice.

An open choice holds every option, a decided one holds exactly one, under the *same parameter name*; so a
child's weights are a name-filtered subset of the supernet's (`docs/decisions/0001`). Which options run is an
argument of `forward`: gates, choice -> option -> weight. One entry is a path, a softmax is DARTS, two entries
are ProxylessNAS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from spark_nas.spaces.core import Architecture, Choice

# x_BCHW: batch, channels, height, width.


@dataclass(frozen=True)
class Probe:
    """A weight that only asks what its option would add (ProxylessNAS: Cai, Zhu and Han, ICLR 2019, section 3.2.1).

    `weight` is a scalar tensor, usually 0 with `requires_grad`. The option runs without a graph, so backward gives
    dL/dweight = <dL/dy, o(x)> and nothing to the option's weights or, through it, to x. Batch norms inside the
    option see the batch as they do whenever they run.
    """

    weight: Tensor


Plain = Tensor | float
"""A weight that is multiplied by as it is."""
Weight = Plain | Probe
Gates = Mapping[str, Mapping[str, Weight]]
"""choice -> option -> weight; options that are absent are not run."""


class MixedOperation(nn.Module):
    """The options of one choice that the architecture leaves possible.

    Laws: without gates a decided choice runs and an open one is an error; with gates the output is the weighted
    sum of the options named; a decided choice that the gates do not name runs with weight 1.
    """

    def __init__(self, choice: str, options: Mapping[str, nn.Module], *, decided: bool) -> None:
        super().__init__()
        self.choice = choice
        self.decided = decided
        self.options = nn.ModuleDict(dict(options))

    def weights(self, gates: Gates | None) -> Mapping[str, Weight]:
        """The options to run and their weights, at least one.

        Raises ValueError for an open choice without a gate and for an option that is not there.
        """
        weights = (gates or {}).get(self.choice)
        if weights is None and self.decided:
            return dict.fromkeys(self.options, 1.0)
        if not weights:
            raise ValueError(f"choice {self.choice!r} is open: give gates for it, or decide it in the architecture")
        for option in weights:
            if option not in self.options:
                there = ", ".join(self.options)
                raise ValueError(f"choice {self.choice!r} has no option {option!r} here; there are: {there}")
        return weights

    def is_silent(self, gates: Gates | None) -> bool:
        """Whether only `none` is to run, with nothing to learn from it, so that callers may leave it out of a sum."""
        return all(
            isinstance(self.options[option], Zero) and not _learns(weight)
            for option, weight in self.weights(gates).items()
        )

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """The gated sum. Raises ValueError as `weights` does."""
        return self.mix(x_BCHW, self.weights(gates))

    def mix(self, x_BCHW: Tensor, weights: Mapping[str, Weight]) -> Tensor:
        """The sum of the options named in `weights`, each times its weight."""
        total: Tensor | None = None
        for option, weight in weights.items():
            y = weighed(self.options[option], weight, x_BCHW)
            total = y if total is None else total + y
        assert total is not None  # weights has at least one entry
        return total


class PartialMixedOperation(MixedOperation):
    """A mixed operation on the first 1/k of the channels, k = `partial` (PC-DARTS: Xu et al., ICLR 2020, section 3.2).

    The other channels pass by (through a 2x2 max pool at stride 2) times the *sum* of the weights, so that a common
    factor in the weights, the paper's beta, scales the whole edge. Then the channels are shuffled, so that the next
    edge processes others. `none` counts in the sum like any option: it silences the processed channels and
    never those that pass by.
    """

    def __init__(
        self, choice: str, options: Mapping[str, nn.Module], *, decided: bool, partial: int, stride: int
    ) -> None:
        super().__init__(choice, options, decided=decided)
        self.partial = partial
        self.stride = stride

    def is_silent(self, gates: Gates | None) -> bool:
        """Never: even `none` lets channels pass."""
        self.weights(gates)
        return False

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """[B, C, ceil(H / stride), ceil(W / stride)]."""
        weights, width = self.weights(gates), x_BCHW.shape[1] // self.partial
        processed_BcHW, passed_BcHW = self.mix(x_BCHW[:, :width], weights), x_BCHW[:, width:]
        if self.stride > 1:
            passed_BcHW = functional.max_pool2d(passed_BcHW, 2, stride=self.stride, ceil_mode=True)
        whole = self.whole(weights)
        if isinstance(whole, Tensor) or whole != 1.0:
            passed_BcHW = passed_BcHW * whole
        return shuffled(torch.cat([processed_BcHW, passed_BcHW], dim=1), self.partial)

    @staticmethod
    def whole(weights: Mapping[str, Weight]) -> Plain:
        """The weight of the channels that pass."""
        parts = [plain(weight) for weight in weights.values()]
        return sum(parts[1:], start=parts[0])


def shuffled(x_BCHW: Tensor, groups: int) -> Tensor:
    """Channel g * (C / groups) + i becomes i * groups + g (ShuffleNet)."""
    batch, channels, height, width = x_BCHW.shape
    x_BgcHW = x_BCHW.reshape(batch, groups, channels // groups, height, width)
    return x_BgcHW.transpose(1, 2).reshape(batch, channels, height, width)


def plain(weight: Weight) -> Plain:
    """The number or the scalar, whether it probes or not."""
    return weight.weight if isinstance(weight, Probe) else weight


def weighed(option: nn.Module, weight: Weight, x_BCHW: Tensor, *gates: Gates | None) -> Tensor:
    """What an option makes of x, times its weight; `gates` are for one that is itself a mixed operation."""
    y_BCHW: Tensor
    if isinstance(weight, Probe):
        with torch.no_grad():
            y_BCHW = option(x_BCHW.detach(), *gates)  # detached, as the identity would hand on x and its graph
        return y_BCHW * weight.weight
    y_BCHW = option(x_BCHW, *gates)
    return y_BCHW if not isinstance(weight, Tensor) and weight == 1.0 else y_BCHW * weight


def _learns(weight: Weight) -> bool:
    """Whether a gradient is wanted for it, which must be 0 and not absent."""
    tensor = plain(weight)
    return isinstance(tensor, Tensor) and tensor.requires_grad and torch.is_grad_enabled()


class Zero(nn.Module):
    """The option `none`: zeros of the shape the edge would have, without reading the input's values."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, ceil(H / stride), ceil(W / stride)]."""
        return torch.zeros_like(x_BCHW[:, :, :: self.stride, :: self.stride])  # in its layout too


def mixed(choice: Choice, architecture: Architecture, make: Callable[[str], nn.Module]) -> MixedOperation:
    """The mixed operation of a choice: `make(option)` for each option that the architecture leaves possible."""
    options, decided = _options(choice, architecture)
    return MixedOperation(choice.name, {option: make(option) for option in options}, decided=decided)


def partial_mixed(
    choice: Choice, architecture: Architecture, make: Callable[[str], nn.Module], *, partial: int, stride: int
) -> MixedOperation:
    """As `mixed`, on 1/`partial` of the channels; `make` makes options of that many."""
    options, decided = _options(choice, architecture)
    made = {option: make(option) for option in options}
    return PartialMixedOperation(choice.name, made, decided=decided, partial=partial, stride=stride)


def _options(choice: Choice, architecture: Architecture) -> tuple[Sequence[str], bool]:
    decided = architecture.get(choice.name)
    return (choice.options, False) if decided is None else ((decided,), True)


def sum_of(edges: Sequence[MixedOperation], states: Sequence[Tensor], gates: Gates | None) -> Tensor:
    """A node of a cell: the sum of its incoming edges; edges of which only `none` runs cost nothing."""
    pairs = list(zip(edges, states, strict=True))
    loud = [(edge, state) for edge, state in pairs if not edge.is_silent(gates)] or pairs[:1]
    edge, state = loud[0]
    total: Tensor = edge(state, gates)
    for edge, state in loud[1:]:
        total = total + edge(state, gates)
    return total
