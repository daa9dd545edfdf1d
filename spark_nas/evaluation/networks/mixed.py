"""The mixed operation: what stands where an architecture decides, or leaves open, one choice.

An open choice holds every option, a decided one holds exactly one, under the *same parameter name*; so a
child's weights are a name-filtered subset of the supernet's (`docs/decisions/0001`). Which options run is an
argument of `forward`: gates, choice -> option -> weight. One entry is a path, a softmax is DARTS, two entries
are ProxylessNAS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from spark_nas.spaces.core import Architecture, Choice

# x_BCHW: batch, channels, height, width.

Gates = Mapping[str, Mapping[str, "Tensor | float"]]
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

    @property
    def silent(self) -> bool:
        """Whether it is decided to be `none`, so that callers may leave it out of a sum."""
        return self.decided and isinstance(next(iter(self.options.values())), Zero)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """The gated sum. Raises ValueError for an open choice without a gate and for an option that is not there."""
        weights = (gates or {}).get(self.choice)
        if weights is None and self.decided:
            weights = dict.fromkeys(self.options, 1.0)
        if not weights:
            raise ValueError(f"choice {self.choice!r} is open: give gates for it, or decide it in the architecture")
        total: Tensor | None = None
        for option, weight in weights.items():
            if option not in self.options:
                there = ", ".join(self.options)
                raise ValueError(f"choice {self.choice!r} has no option {option!r} here; there are: {there}")
            y = self.options[option](x_BCHW)
            if isinstance(weight, Tensor) or weight != 1.0:
                y = y * weight
            total = y if total is None else total + y
        assert total is not None  # weights has at least one entry
        return total


class Zero(nn.Module):
    """The option `none`: zeros of the shape the edge would have, without reading the input's values."""

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """[B, C, ceil(H / stride), ceil(W / stride)]."""
        return x_BCHW.new_zeros(x_BCHW[:, :, :: self.stride, :: self.stride].shape)


def mixed(choice: Choice, architecture: Architecture, make: Callable[[str], nn.Module]) -> MixedOperation:
    """The mixed operation of a choice: `make(option)` for each option that the architecture leaves possible."""
    decided = architecture.get(choice.name)
    options = choice.options if decided is None else (decided,)
    return MixedOperation(choice.name, {option: make(option) for option in options}, decided=decided is not None)


def sum_of(edges: Sequence[MixedOperation], states: Sequence[Tensor], gates: Gates | None) -> Tensor:
    """A node of a cell: the sum of its incoming edges; edges decided to be `none` cost nothing."""
    pairs = list(zip(edges, states, strict=True))
    loud = [(edge, state) for edge, state in pairs if not edge.silent] or pairs[:1]
    edge, state = loud[0]
    total: Tensor = edge(state, gates)
    for edge, state in loud[1:]:
        total = total + edge(state, gates)
    return total
