"""How long one search step on the DARTS cell space takes, and what it keeps in memory, for each one-shot method.

A step is what the training loop does for one batch: the method's step on the architecture (if it takes one then) and
the step on the weights (SGD with momentum, gradients clipped), here on noise. All methods run their shipped defaults,
without warm-up, on the shipped loop's functions; beside them

- `published`: the supernet as Liu, Simonyan and Yang (ICLR 2019) describe it, written here anew: every operation
  of every edge is a module of its own, gates are a table an edge type, and the architecture's gradient is taken by
  a backward pass through everything, as the released code does (`supernet_published`);
- `not fused`: our first-order step with the plain sum of operations instead of `evaluation.networks.fused`;
- `sub-network`: one decided architecture, of the same size, whose weights alone exist.

Steps are interleaved: in each round every method takes one, so that a busy moment of the machine meets all of them. CPU
time is that of all threads: on a machine with other work, read it at `--threads 1`, and wall times on a quiet one.
The path methods and the sub-network meet the same random architectures. Memory is measured apart, in a fresh process
a method: the most bytes of tensors kept for a backward pass at any moment of a step (weights left out, a storage
counted once), and by how much the most resident memory of the process grew over building the network and two steps.

    python -m benchmarks.supernet_step [--channels 8] [--layers 5] [--batch 16] [--side 32] [--threads 2] [--rounds 7]
                                       [--methods ...] [--parts time memory]

The paper's search setting is 16 channels, 8 layers. About 3 minutes at the defaults on 2 idle cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn

from benchmarks.measure import Numbers, alone, machine, print_table
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
MEGABYTE = 2**20
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


class Contestant:
    """Something that takes steps: `ready(round)` gives the next one, made before the clock starts."""

    network: nn.Module

    def ready(self, number: int) -> Step:
        """The step of a round; what is random in it follows the round's number."""
        raise NotImplementedError


class Searching(Contestant):
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


class Alone(Contestant):
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


class Published(Contestant):
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


@dataclass
class Taken:
    """Milliseconds of each step of a contestant."""

    wall: list[float]
    cpu: list[float]
    """Of all threads."""


def times(setting: Setting, names: Sequence[str], rounds: int) -> dict[str, Taken]:
    """What each contestant's steps took."""
    torch.set_num_threads(setting.threads)
    contestants = {name: CONTESTANTS[name](setting) for name in names}
    for contestant in contestants.values():
        contestant.ready(0)()
    taken = {name: Taken([], []) for name in names}
    for number in range(1, rounds + 1):
        for name, contestant in contestants.items():
            step = contestant.ready(number)
            wall, cpu = time.perf_counter(), time.process_time()
            step()
            taken[name].wall.append(1000 * (time.perf_counter() - wall))
            taken[name].cpu.append(1000 * (time.process_time() - cpu))
    return taken


class Kept:
    """The bytes of tensors that graphs keep, now and at most; use as a context around steps."""

    def __init__(self, network: nn.Module) -> None:
        self._weights = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
        self._holders: dict[int, int] = {}
        self._now = self.most = 0
        self._hooks = torch.autograd.graph.saved_tensors_hooks(lambda tensor: _Held(self, tensor), _Held.tensor_of)

    def __enter__(self) -> Kept:
        self._hooks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._hooks.__exit__()

    def hold(self, tensor: Tensor, change: int) -> None:
        """A graph begins (1) or ceases (-1) to hold a tensor."""
        storage = tensor.untyped_storage()
        key = storage.data_ptr()
        if key in self._weights:
            return
        before = self._holders.get(key, 0)
        self._holders[key] = before + change
        if 0 in (before, before + change):
            self._now += change * storage.nbytes()
            self.most = max(self.most, self._now)


class _Held:
    """A tensor in a graph; deleted when the graph lets it go."""

    def __init__(self, kept: Kept, tensor: Tensor) -> None:
        self._kept, self._tensor = kept, tensor.detach()
        kept.hold(self._tensor, 1)

    def tensor_of(self) -> Tensor:
        """What was packed."""
        return self._tensor

    def __del__(self) -> None:
        self._kept.hold(self._tensor, -1)


def memory(setting: Setting, name: str) -> Numbers:
    """The most kept for a backward pass, MB, over two steps; to be run in a process of its own."""
    torch.set_num_threads(setting.threads)
    contestant = CONTESTANTS[name](setting)
    most = 0.0
    for number in (1, 2):
        step = contestant.ready(number)
        with Kept(contestant.network) as kept:
            step()
        most = max(most, kept.most / MEGABYTE)
    return {"kept": most}


def time_table(setting: Setting, names: Sequence[str], rounds: int) -> None:
    """Print milliseconds and ratios. Noise hits both of a round, so ratios are medians of those within a round."""
    taken = times(setting, names, rounds)
    rows = []
    for name, each in taken.items():
        ratios: list[object] = []
        for reference in REFERENCES:
            for kind in ("wall", "cpu"):
                pairs = (
                    zip(getattr(each, kind), getattr(taken[reference], kind), strict=True) if reference in taken else ()
                )
                ratios.append(statistics.median([a / b for a, b in pairs]) if reference in taken else "")
        rows.append(
            [name, statistics.median(each.wall), min(each.wall), max(each.wall), statistics.median(each.cpu), *ratios]
        )
    of = [f"{kind} / {reference}'s" for reference in REFERENCES for kind in ("wall", "CPU")]
    print_table(("one step", "median, ms", "min", "max", "CPU, ms", *of), rows)


def memory_table(setting: Setting, names: Sequence[str]) -> None:
    """Print both memories."""
    took = ((name, alone(memory, setting, name)) for name in names)
    rows = ([name, measured.numbers["kept"], measured.grown] for name, measured in took)
    print_table(("one step", "kept for backward, MB", "process grew by, MB"), rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Time and memory of one search step, for each one-shot method.")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--methods", nargs="+", choices=list(CONTESTANTS), default=list(CONTESTANTS), metavar="NAME")
    parser.add_argument("--parts", nargs="+", choices=("time", "memory"), default=("time", "memory"))
    chosen = parser.parse_args(arguments)
    setting = Setting(chosen.channels, chosen.layers, chosen.batch, chosen.side, chosen.threads)
    print(f"{setting}, torch {torch.__version__}\n{machine()}\n", flush=True)
    if "time" in chosen.parts:
        time_table(setting, chosen.methods, chosen.rounds)
    if "memory" in chosen.parts:
        memory_table(setting, chosen.methods)
    print(machine())


if __name__ == "__main__":
    main()
