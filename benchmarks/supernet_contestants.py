"""The contestants of `supernet_step`: each method on a supernet, a sub-network alone, and the published supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

import torch
from torch import nn

from benchmarks.supernet_published import PublishedSearch
from spark_nas.evaluation.loop import Lesson, descend, loss_of
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.oneshot.darts import Darts as DartsMethod
from spark_nas.evaluation.oneshot.enas import Enas
from spark_nas.evaluation.oneshot.gdas import Gdas
from spark_nas.evaluation.oneshot.pc_darts import PcDarts
from spark_nas.evaluation.oneshot.protocol import Batch, Fixed, Method, MethodOptions, draw_seed
from spark_nas.evaluation.oneshot.proxyless import Proxyless
from spark_nas.evaluation.oneshot.random_sharing import RandomSharing
from spark_nas.evaluation.optimisers import OPTIMISERS
from spark_nas.evaluation.training import Training
from spark_nas.spaces.core import SUPERNET
from spark_nas.spaces.darts import Darts

CLASSES = 10
HORIZON = 50
Step = Callable[[], None]


@dataclass(frozen=True)
class Setting:
    """Of the network and of a batch."""

    channels: int
    layers: int
    batch: int
    side: int
    threads: int

    def batch_of(self, seed: int) -> Batch:
        """Noise, and labels for it."""
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(self.batch, 3, self.side, self.side, generator=generator)
        return Batch(x, torch.randint(CLASSES, (self.batch,), generator=generator))

    def space(self, partial_channels: int = 1) -> Darts:
        """The options of the space."""
        return Darts(layers=self.layers, channels=self.channels, partial_channels=partial_channels)


class Contestant(Protocol):
    """Something that takes steps: `ready(round)` gives the next one, made before the clock starts."""

    network: nn.Module

    def ready(self, number: int) -> Step:
        """The step of a round; what is random in it follows the round's number."""
        ...


class Searching:
    """A method on a supernet."""

    def __init__(
        self, setting: Setting, options: MethodOptions, *, partial_channels: int = 1, fused: bool = True
    ) -> None:
        space = setting.space(partial_channels)
        shape = (3, setting.side, setting.side)
        self.network = build(space, SUPERNET, {}, shape, CLASSES, affine=False, seed=1)
        if not fused:
            for cell in self.network.get_submodule("cells").children():
                # A watched cell is not fused.
                cell.get_submodule("newer").register_forward_hook(lambda *_: None)
        self._step = step_of(setting, self.network, options.build(space.build()))

    def ready(self, number: int) -> Step:
        """Always the same network."""
        torch.manual_seed(number)
        return self._step


class Alone:
    """Ordinary training of one architecture a round: the one that RSWS draws in it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.ready(0)

    def ready(self, number: int) -> Step:
        """A new network. It has taken one step before, as the optimisers of the others have."""
        torch.manual_seed(number)
        space = self._setting.space()
        architecture = space.build().sample(Random(draw_seed()))
        shape = (3, self._setting.side, self._setting.side)
        self.network = build(space, architecture, {}, shape, CLASSES, affine=False, seed=1)
        step = step_of(self._setting, self.network, Fixed())
        step()
        return step


class Published:
    """The reference."""

    def __init__(self, setting: Setting) -> None:
        torch.manual_seed(1)
        self.network = PublishedSearch(setting.channels, setting.layers, CLASSES)
        self._batches = setting.batch_of(1)[:2], setting.batch_of(2)[:2]

    def ready(self, number: int) -> Step:
        """Always the same network."""
        return lambda: self.network.step(*self._batches)


def step_of(setting: Setting, network: nn.Module, method: Method) -> Step:
    """What the training loop does for a batch."""
    options = Training(batch_size=setting.batch)
    optimiser = OPTIMISERS["sgd"](network.parameters(), options)
    lesson = Lesson(network, optimiser, options, HORIZON)
    train, valid = setting.batch_of(1), setting.batch_of(2)
    network.train()

    def step() -> None:
        method.step(lesson, train, lambda: valid)
        loss, _ = loss_of(network, train, method.gates(), options)
        descend(loss, network, optimiser, options.clip_norm)

    return step


CONTESTANTS: Mapping[str, Callable[[Setting], Contestant]] = {
    "published": Published,
    "DARTS, first order, not fused": lambda setting: Searching(setting, DartsMethod(), fused=False),
    "DARTS, first order": lambda setting: Searching(setting, DartsMethod()),
    "DARTS, second order": lambda setting: Searching(setting, DartsMethod(order=2)),
    "PC-DARTS, k = 4": lambda setting: Searching(setting, PcDarts(warmup_epochs=0), partial_channels=4),
    "GDAS": lambda setting: Searching(setting, Gdas(warmup_epochs=0)),
    "ProxylessNAS, weights": lambda setting: Searching(setting, Proxyless()),
    "ProxylessNAS, alpha and weights": lambda setting: Searching(setting, Proxyless(warmup_epochs=0, interval=1)),
    "ENAS, weights": lambda setting: Searching(setting, Enas()),
    "RSWS": lambda setting: Searching(setting, RandomSharing()),
    "sub-network": Alone,
}
REFERENCES = ("published", "sub-network")
