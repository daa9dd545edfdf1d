"""Laws of the measured latency table. Times are made by a clock that the modules themselves move."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import Tensor, nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.latency import measure, measure_space
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.enas_micro import Side
from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, mixed
from spark_nas.evaluation.networks.mixed import Zero as ZeroOperation
from spark_nas.evaluation.oneshot.protocol import path
from spark_nas.spaces.core import SUPERNET, Architecture, Choice
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.enas_micro import OPERATIONS, EnasMicro
from spark_nas.spaces.enas_rnn import EnasRnn
from spark_nas.spaces.latency import LatencyTable
from spark_nas.spaces.proxyless import ZERO, Proxyless
from spark_nas.spaces.wide_resnet import WideResNet

OPTIONS = ("mbconv3_e3", "mbconv5_e3", ZERO)
SMALL = Proxyless(width=0.25, widths=(24, 40), depths=(2, 2), strides=(1, 2), operations=OPTIONS)
MICRO = EnasMicro(layers=3, filters=2, nodes=2)
A, B = Choice("a", ("none", "fast", "slow")), Choice("b", ("slow", "fast"))


class Clock:
    """Stands still until a module moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Takes(nn.Module):
    """Takes `milliseconds` a run; the first two are slower."""

    def __init__(self, clock: Clock, milliseconds: float) -> None:
        super().__init__()
        self.clock, self.milliseconds, self.factor = clock, milliseconds, 3.0
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        self.clock.now += self.factor * self.milliseconds / 1000
        self.factor = max(1.0, self.factor - 1.0)
        return x * self.scale


class Network(nn.Module):
    """7 ms, choice a at two places, choice b at one."""

    def __init__(self, clock: Clock, architecture: Architecture = SUPERNET) -> None:
        super().__init__()
        times = {"fast": 1.0, "slow": 5.0}

        def make(name: str) -> nn.Module:
            return ZeroOperation() if name == "none" else Takes(clock, times[name])

        self.stem = Takes(clock, 7.0)
        self.places = nn.ModuleList(mixed(choice, architecture, make) for choice in (A, A, B))

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        x = self.stem(x)
        for place in self.places:
            x = x + place(x, gates)
        return x


class Skipping(Network):
    """Leaves the last place out."""

    def forward(self, x: Tensor, gates: Gates | None = None) -> Tensor:
        return self.places[0](self.stem(x), gates)


def measured(make: Callable[[Clock], nn.Module], warmup: int = 1, shape: tuple[int, ...] = (2, 3, 1)) -> LatencyTable:
    clock = Clock()
    return measure(make(clock), shape, repeats=2, warmup=warmup, clock=clock)


def rounded(table: LatencyTable) -> tuple[float, dict[str, dict[str, float]]]:
    options = {choice: {o: round(ms, 6) for o, ms in entries.items()} for choice, entries in table.options.items()}
    return round(table.fixed, 6), options


def test_each_option_gets_its_own_time_and_the_rest_is_fixed():
    options = {"a": {"none": 0.0, "fast": 2.0, "slow": 10.0}, "b": {"slow": 5.0, "fast": 1.0}}
    assert rounded(measured(Network)) == (7.0, options)


def test_warming_up_does_not_count_and_the_smallest_time_stands():
    def single(clock: Clock) -> nn.Module:
        return Network(clock, Architecture({"a": "none", "b": "fast"}))

    # 3, 2, 1, 1 times as long: two runs count.
    assert [2.0, 1.0, 1.0] == [round(measured(single, warmup).options["b"]["fast"], 6) for warmup in (0, 1, 2)]


def test_a_network_without_choices_is_all_fixed():
    network = build(WideResNet(depth=10, width=1), SUPERNET, {}, (1, 8, 8), 3)
    table = measure(network, (1, 8, 8), repeats=1, warmup=0)
    assert table.options == {}
    assert table.fixed > 0


def test_a_decided_choice_is_measured_too():
    child = Architecture({"a": "none", "b": "fast"})
    assert rounded(measured(lambda clock: Network(clock, child))) == (7.0, {"a": {"none": 0.0}, "b": {"fast": 1.0}})


def test_the_sum_of_the_parts_is_the_time_of_a_pass():
    clock = Clock()
    network = Network(clock)
    table = measure(network, (2, 3, 1), repeats=3, warmup=1, clock=clock)
    start = clock()
    network(torch.zeros(1, 2, 3, 1), {"a": {"slow": 1.0}, "b": {"fast": 1.0}})
    assert 1000 * (clock() - start) == pytest.approx(table.of(Architecture({"a": "slow", "b": "fast"})))


def test_a_choice_that_does_not_run_cannot_be_measured():
    with pytest.raises(OptionError, match=r"latency: '[ab]': does not run"):
        measured(Skipping)


def timed_micro(clock: Clock) -> nn.Module:
    """The ENAS network, whose stem takes 7 ms and whose operations 1, 2, 3, 4 and 5."""
    network = build(MICRO, SUPERNET, {}, (1, 8, 8), 3, seed=1).eval()

    def takes(module: nn.Module, milliseconds: int) -> None:
        def move(*_: object) -> None:
            clock.now += milliseconds / 1000

        module.register_forward_hook(move)

    takes(network.get_submodule("stem"), 7)
    for operation in network.modules():
        if isinstance(operation, MixedOperation) and not isinstance(operation, Side):
            for name, option in operation.options.items():
                takes(option, 1 + OPERATIONS.index(name))
    return network


def test_nothing_is_counted_twice_where_the_options_of_a_choice_are_mixed_operations():
    clock, space = Clock(), MICRO.build()
    network = timed_micro(clock)
    table = measure(network, (1, 8, 8), repeats=1, warmup=0, clock=clock)
    assert {choice.name: set(choice.options) for choice in space.choices} == {
        name: set(entries) for name, entries in table.options.items()
    }
    assert {0.0} == {ms for name, row in table.options.items() if name.endswith("input") for ms in row.values()}
    assert pytest.approx(7.0) == table.fixed
    for seed in range(3):
        architecture, start = space.sample(Random(seed)), clock()
        network(torch.zeros(1, 1, 8, 8), path(architecture))
        assert pytest.approx(table.of(architecture)) == 1000 * (clock() - start)


def test_a_choice_between_mixed_operations_must_run_too(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Side, "forward", lambda self, states, gates=None: states[0])
    with pytest.raises(OptionError, match="latency: 'normal/node2/left/input': does not run"):
        measured(lambda _: build(MICRO, SUPERNET, {}, (2, 8, 8), 3, seed=1), shape=(2, 8, 8))


def test_a_space_of_texts_is_refused():
    with pytest.raises(OptionError, match=r"space: 'enas_rnn': takes text, .* use a space of images"):
        measure_space(EnasRnn(nodes=2, hidden=4), {}, (), device="cpu")


def test_no_repeats_are_refused():
    with pytest.raises(OptionError, match="repeats: 0"):
        measure(Network(Clock()), (2, 3, 1), repeats=0)


@pytest.mark.parametrize("options", [SMALL, Darts(layers=3, channels=2)])
def test_every_option_of_a_real_network_gets_an_entry_by_the_real_clock(options: Proxyless | Darts):
    space = options.build()
    table = measure(build(options, SUPERNET, {}, (1, 8, 8), 3, seed=1), (1, 8, 8), repeats=1, warmup=0)
    assert {choice.name: set(choice.options) for choice in space.choices} == {
        name: set(entries) for name, entries in table.options.items()
    }
    assert table.fixed > 0
    assert all(
        (ms > 0) == (option not in (ZERO, "none")) for row in table.options.values() for option, ms in row.items()
    )


def test_measuring_leaves_modes_statistics_generator_and_hooks_alone():
    network = build(SMALL, SUPERNET, {}, (1, 8, 8), 3, seed=1).train()
    network.head.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    modes, state = [m.training for m in network.modules()], torch.get_rng_state()
    measure(network, (1, 8, 8), batch_size=2, repeats=1, warmup=0)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert modes == [m.training for m in network.modules()]
    assert torch.equal(state, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def test_the_gradient_of_the_expected_latency_is_the_table():
    table = LatencyTable(1.0, {"a": {"x": 2.0, "y": 3.0}, "b": {"z": 5.0}})
    p = torch.tensor([0.25, 0.75], requires_grad=True)
    expected = table.expected({"a": {"x": p[0], "y": p[1]}, "b": {"z": torch.tensor(1.0)}})
    expected.backward()
    assert expected.item() == 1.0 + 0.5 + 2.25 + 5.0
    assert p.grad is not None
    assert [2.0, 3.0] == p.grad.tolist()
