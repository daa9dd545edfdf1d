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
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.measure import Numbers, alone, machine, print_table
from benchmarks.supernet_contestants import CONTESTANTS, REFERENCES, Setting

MEGABYTE = 2**20


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
