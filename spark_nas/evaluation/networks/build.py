"""The one builder: a network of any space, of any architecture from a decided child to the supernet.

A mixed operation stands at each open choice and a single operation at each decided one, with the same
parameter names (`mixed`). A new space is one file and one line in `_BUILDERS`; one that is not of this package says
`network` in its options (`spaces.own`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.darts import DartsNetwork
from spark_nas.evaluation.networks.darts_rnn import DartsRnnNetwork
from spark_nas.evaluation.networks.enas_macro import EnasMacroNetwork
from spark_nas.evaluation.networks.enas_micro import EnasMicroNetwork
from spark_nas.evaluation.networks.enas_rnn import EnasRnnNetwork
from spark_nas.evaluation.networks.mlp import MlpNetwork
from spark_nas.evaluation.networks.nas_bench_201 import NasBench201Network
from spark_nas.evaluation.networks.proxyless import ProxylessNetwork
from spark_nas.evaluation.networks.wide_resnet import WideResNetNetwork
from spark_nas.spaces.core import Architecture, SearchSpace
from spark_nas.spaces.dimensions import RecipeValue, nearest

_BUILDERS: dict[str, type[nn.Module]] = {
    "darts": DartsNetwork,
    "darts_rnn": DartsRnnNetwork,
    "enas_rnn": EnasRnnNetwork,
    "enas_macro": EnasMacroNetwork,
    "enas_micro": EnasMicroNetwork,
    "mlp": MlpNetwork,
    "nas_bench_201": NasBench201Network,
    "proxyless": ProxylessNetwork,
    "wide_resnet": WideResNetNetwork,
}
_IMAGES = ("darts", "enas_macro", "enas_micro", "nas_bench_201", "proxyless", "wide_resnet")
_TEXTS = ("darts_rnn", "enas_rnn")
_SMALLEST_SIDE = 4
"""Image networks halve the resolution twice."""


Builder = Callable[..., nn.Module]
"""(architecture, recipe, input_shape, classes, *, affine) -> network."""


class SpaceOptions(Protocol):
    """The options dataclass of a space, as far as the builder knows it."""

    @property
    def name(self) -> str:
        """The space's name."""
        ...

    def build(self) -> SearchSpace:
        """The space."""
        ...


def build(
    options: SpaceOptions,
    architecture: Architecture,
    recipe: Mapping[str, RecipeValue],
    input_shape: tuple[int, ...],
    classes: int,
    *,
    affine: bool = True,
    seed: int | None = None,
) -> nn.Module:
    """A network with `forward(x, gates=None)`: x [B, *input_shape] -> logits [B, classes].

    One of text (`input_shape` is (): a token) takes x [T, B] to logits [T * B, classes] (`networks.recurrent`).

    `affine` is whether batch norms inside cells learn a scale and a shift: False is the search form of a
    supernet and of the children that inherit its weights, True (the default) that of a network trained for its
    own sake. Initial weights are a function of `seed`, or without one of torch's global generator, which is
    left as it was in either case.

    Raises OptionError for a space without networks, an architecture outside the space, a recipe value that
    makes no network, and an input that the network cannot take.
    """
    own: Builder | None = getattr(options, "network", None)
    if own is None and options.name not in _BUILDERS:
        raise OptionError("space", options.name, f"has no network: {nearest(options.name, _BUILDERS)}")
    space = options.build()
    if not space.contains(architecture):
        raise OptionError("architecture", architecture.to_json(), f"is not in the space {options.name}")
    if own is None:
        _check_input(options.name, input_shape, classes)
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.manual_seed(seed)
        if own is not None:
            return own(architecture, recipe, input_shape, classes, affine=affine)
        return _BUILDERS[options.name](options, architecture, recipe, input_shape, classes, affine=affine)


def _check_input(name: str, input_shape: tuple[int, ...], classes: int) -> None:
    if classes < 1:
        raise OptionError("classes", classes, "must be at least 1")
    if name in _TEXTS:
        if input_shape != ():
            raise OptionError("input_shape", input_shape, f"{name} takes text, whose tokens have no shape: ()")
        return
    if not input_shape:
        texts = " or ".join(_TEXTS)
        raise OptionError("input_shape", input_shape, f"{name} takes no text, but at least 1 side; use {texts}")
    if min(input_shape) < 1:
        raise OptionError("input_shape", input_shape, "every side must be at least 1")
    if name not in _IMAGES:
        return
    if len(input_shape) != 3:
        raise OptionError("input_shape", input_shape, f"{name} takes images (channels, height, width); use mlp")
    if min(input_shape[1:]) < _SMALLEST_SIDE:
        raise OptionError(
            "input_shape", input_shape, f"{name} halves images twice: use sides of at least {_SMALLEST_SIDE}"
        )
