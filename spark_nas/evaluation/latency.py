"""Measuring a `LatencyTable`: what each option of a supernet takes on the device it is on (ProxylessNAS, section 3.3).

Options are timed where they stand, in whole passes along single paths that between them run every option: alone, over
and over on the same input, they would find their weights in the cache and look faster than they are. `none` and `zero`
are not run on a path and cost nothing. The smallest time stands, since whatever else the machine does only ever adds.
A choice that several places share (the cells of a cell space) costs what all of them take. An option that is itself a
mixed operation (an input of an ENAS node) costs nothing: what it runs is counted where that is chosen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.build import SpaceOptions, build
from spark_nas.evaluation.networks.mixed import MixedOperation, Zero
from spark_nas.evaluation.restoring import evaluating
from spark_nas.spaces.core import SUPERNET
from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.latency import LatencyTable
from spark_nas.spaces.settings import whole_number

Clock = Callable[[], float]
"""Seconds."""


def measure(
    network: nn.Module,
    input_shape: tuple[int, ...],
    *,
    batch_size: int = 1,
    repeats: int = 30,
    warmup: int = 3,
    seed: int = 0,
    clock: Clock = time.perf_counter,
) -> LatencyTable:
    """The table of a network whose choices are all mixed operations, open or decided, in evaluation mode.

    Every option runs `repeats` times at least, after `warmup` runs that do not count, on noise drawn with `seed`.
    The network's modes and statistics and torch's global generator are left as they were. On a busy machine
    `clock=time.thread_time` with one thread counts the work alone. Raises OptionError for a choice that a pass does
    not run.
    """
    whole_number({}, "repeats", repeats)
    passes = _Passes(network, clock)
    noise = torch.randn((batch_size, *input_shape), generator=torch.Generator().manual_seed(seed))
    x = noise.to(next(network.parameters()))
    elsewhere: list[float] = []
    inside: dict[tuple[str, str], list[float]] = {}
    with evaluating(network), torch.no_grad():
        for turn in range(warmup + repeats):
            for gates in passes.paths():
                rest, taken = passes.run(x, gates)
                if turn >= warmup:
                    elsewhere.append(rest)
                    for key, seconds in taken.items():
                        inside.setdefault(key, []).append(seconds)
    options: dict[str, dict[str, float]] = {}
    for choice, option in passes.keys:
        options.setdefault(choice, {})[option] = 1000 * min(inside.get((choice, option), [0.0]))
    return LatencyTable(1000 * min(elsewhere), options)


def measure_space(
    options: SpaceOptions,
    recipe: Mapping[str, RecipeValue],
    input_shape: tuple[int, ...],
    *,
    device: str,
    batch_size: int = 1,
    repeats: int = 30,
    processor_time: bool = False,
) -> LatencyTable:
    """The table of a space's supernet on a device; `processor_time` counts what one CPU thread does, not wall time.

    Raises OptionError for a space of texts, and as `build` and `measure` do.
    """
    network = build(options, SUPERNET, recipe, input_shape, classes=10, seed=1).to(device)
    if input_shape == ():
        raise OptionError("space", options.name, "takes text, but latency tables are of images: use a space of images")
    threads = torch.get_num_threads()
    try:
        if processor_time:
            torch.set_num_threads(1)
        clock = time.thread_time if processor_time else time.perf_counter
        return measure(network, input_shape, batch_size=batch_size, repeats=repeats, clock=clock)
    finally:
        torch.set_num_threads(threads)


class _Passes:
    """Passes along single paths, with a stopwatch on every option."""

    def __init__(self, network: nn.Module, clock: Clock) -> None:
        self.network, self.clock = network, clock
        self.keys: list[tuple[str, str]] = []
        """(choice, option), also of zeros."""
        self._loud: dict[str, list[str]] = {}
        """choice -> its options that are not zeros."""
        self._watched: dict[nn.Module, tuple[str, str]] = {}
        for operation in (module for module in network.modules() if isinstance(module, MixedOperation)):
            loud = {name: option for name, option in operation.options.items() if not isinstance(option, Zero)}
            self.keys += [(operation.choice, name) for name in operation.options]
            self._loud[operation.choice] = list(loud)
            self._watched.update({option: (operation.choice, name) for name, option in loud.items()})
        self._entered = 0.0
        self._taken: dict[tuple[str, str], float] = {}

    def paths(self) -> Iterator[dict[str, dict[str, float]]]:
        """Gates of single paths, as few as run every option that is not zeros."""
        silent = dict(self.keys)
        for turn in range(max(map(len, self._loud.values()), default=1) or 1):
            yield {c: {names[turn % len(names)] if names else silent[c]: 1.0} for c, names in self._loud.items()}

    def run(self, x: Tensor, gates: Mapping[str, Mapping[str, float]]) -> tuple[float, dict[tuple[str, str], float]]:
        """Seconds outside the options, and inside each that ran. Raises OptionError where one of the gates did not."""
        self._taken = {}
        with ExitStack() as hooks:
            for option in self._watched:
                hooks.callback(option.register_forward_pre_hook(self._enter).remove)
                hooks.callback(option.register_forward_hook(self._leave).remove)
            _settle(x)
            start = self.clock()
            _settle(self.network(x, gates))
            total = self.clock() - start
        for choice, weights in gates.items():
            if self._loud[choice] and (choice, next(iter(weights))) not in self._taken:
                raise OptionError("latency", choice, "does not run when the network does")
        return total - sum(self._taken.values()), self._taken

    def _enter(self, option: nn.Module, inputs: tuple[Tensor]) -> None:
        _settle(inputs[0])
        self._entered = self.clock()

    def _leave(self, option: nn.Module, inputs: tuple[Tensor], y: Tensor) -> None:
        _settle(y)
        key = self._watched[option]
        # The options of one within have been timed since it was entered.
        seconds = 0.0 if isinstance(option, MixedOperation) else self.clock() - self._entered
        self._taken[key] = self._taken.get(key, 0.0) + seconds


def _settle(x: Tensor) -> None:
    """Wait until the device has computed x: reading one value does, on any device."""
    x[(0,) * x.dim()].item()
