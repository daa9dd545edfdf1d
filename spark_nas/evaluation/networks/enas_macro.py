"""The network of an ENAS macro architecture (Pham et al., ICML 2018, section 2.3, and released code).

A stem, the layers, the mean, dropout, classes. A layer's operation reads the state before; the states that its skips
name are added to the result, and batch norm follows (also where there is no skip; the first layer can have none
and has no norm). After a third and two thirds of the layers *every* state goes through a factorised reduction of its
own. A reduction runs only when a layer reads what it gives, so a path costs and moves only what is its own, and a
child has only the reductions that it can read.

One class serves search and evaluation, and it has the search's form. The released code trains what it found in another
(channels double at reductions, skips are concatenated before a 1x1 convolution); there a child would not compute
what its path computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from spark_nas.evaluation.networks.enas_operations import LinearReduce, macro_operation
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Zero, mixed
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.enas_macro import EnasMacro, operation_name, skip_name, skips_of
from spark_nas.spaces.settings import fraction

# x_BCHW: batch, channels, height, width.


class Layer(nn.Module):
    """An operation on the state before, plus the states that the skips let through."""

    def __init__(
        self, options: EnasMacro, architecture: Architecture, number: int, channels: int, *, affine: bool
    ) -> None:
        super().__init__()
        choices = {choice.name: choice for choice in options.build().choices}
        make = partial(macro_operation, channels=channels, affine=affine)
        self.number = number
        self.operation = mixed(choices[operation_name(number)], architecture, make)
        self.skips = nn.ModuleDict(
            {str(state): mixed(choices[skip_name(number, state)], architecture, _skip) for state in skips_of(number)}
        )
        self.norm = nn.BatchNorm2d(channels, affine=affine) if self.skips else nn.Identity()

    def forward(self, state: Callable[[int], Tensor], gates: Gates | None = None) -> Tensor:
        """[B, C, H, W]; `state(j)` gives state j in that shape, and is asked only for what is read."""
        total_BCHW: Tensor = self.operation(state(self.number - 1), gates)
        for earlier, skip in self.skips.items():
            assert isinstance(skip, MixedOperation)  # ModuleDict forgets its type
            if not skip.is_silent(gates):
                # The option `none` reads the shape only, which is the same everywhere.
                reads = "skip" in skip.weights(gates)
                total_BCHW = total_BCHW + skip(state(int(earlier)) if reads else total_BCHW, gates)
        normed_BCHW: Tensor = self.norm(total_BCHW)
        return normed_BCHW


def _skip(option: str) -> nn.Module:
    return Zero() if option == "none" else nn.Identity()


class EnasMacroNetwork(nn.Module):
    """The whole network; [B, C, H, W] -> logits [B, classes]."""

    def __init__(
        self,
        options: EnasMacro,
        architecture: Architecture,
        recipe: Mapping[str, RecipeValue],
        input_shape: tuple[int, ...],
        classes: int,
        *,
        affine: bool = True,
    ) -> None:
        super().__init__()
        channels = options.width(recipe)
        self.levels = [options.level(layer) for layer in range(1, options.layers + 1)]
        self.stem = nn.Sequential(
            nn.Conv2d(input_shape[0], channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )
        self.layers = nn.ModuleList(
            Layer(options, architecture, number, channels, affine=affine) for number in range(1, options.layers + 1)
        )
        self.reductions = nn.ModuleDict(
            {
                f"{level}/{state}": LinearReduce(channels, channels, affine=affine)
                for level, boundary in enumerate(options.boundaries, start=1)
                for state in range(boundary + 1)
                if state == boundary or _may_be_read(architecture, state, range(boundary + 1, options.layers + 1))
            }
        )
        self.dropout = nn.Dropout(fraction(recipe, "dropout", options.dropout))
        self.classifier = nn.Linear(channels, classes, bias=False)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        """Logits [B, classes]."""
        x_BCHW = self.stem(x_BCHW)
        known = {(0, 0): x_BCHW}
        for number, (level, layer) in enumerate(zip(self.levels, self.layers, strict=True), start=1):
            x_BCHW = layer(partial(self._state, known, level), gates)
            known[level, number] = x_BCHW
        logits_BK: Tensor = self.classifier(self.dropout(x_BCHW.mean(dim=(2, 3))))
        return logits_BK

    def _state(self, known: dict[tuple[int, int], Tensor], level: int, state: int) -> Tensor:
        """A state at a resolution, reduced on first demand."""
        if (level, state) not in known:
            known[level, state] = self.reductions[f"{level}/{state}"](self._state(known, level - 1, state))
        return known[level, state]


def _may_be_read(architecture: Architecture, state: int, layers: range) -> bool:
    """Whether one of the layers adds the state, or may."""
    return any(architecture.get(skip_name(layer, state), "skip") == "skip" for layer in layers)
