"""The laws of `protocol.Method`, held for every method through the real loop. A new method is one line in `METHODS`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import component_class
from spark_nas.errors import OptionError
from spark_nas.evaluation.determinism import torch_settings
from spark_nas.evaluation.loop import measure
from spark_nas.evaluation.networks.mixed import MixedOperation
from spark_nas.evaluation.norms import norms_of
from spark_nas.evaluation.oneshot import protocol
from spark_nas.evaluation.oneshot.darts import Darts
from spark_nas.evaluation.oneshot.enas import Enas
from spark_nas.evaluation.oneshot.gaea import Gaea
from spark_nas.evaluation.oneshot.gaea_gdas import GaeaGdas
from spark_nas.evaluation.oneshot.gdas import Gdas
from spark_nas.evaluation.oneshot.one_shot import OneShotPaths
from spark_nas.evaluation.oneshot.pc_darts import PcDarts
from spark_nas.evaluation.oneshot.protocol import Gates, MethodOptions
from spark_nas.evaluation.oneshot.proxyless import Proxyless
from spark_nas.evaluation.oneshot.random_sharing import RandomSharing
from spark_nas.evaluation.oneshot.snas import Snas
from spark_nas.spaces import darts, darts_rnn, nas_bench_201
from spark_nas.spaces.core import IndependentChoices, SearchSpace
from tests.contracts.supernets import CPU, Search, same, saved

METHODS: dict[str, MethodOptions] = {
    # The learning rates are such that a few steps count.
    "darts": Darts(learning_rate=0.1, entropy_per_choice=True),
    "darts, curvature": Darts(learning_rate=0.1, hessian=True),
    "darts, second order": Darts(learning_rate=0.1, order=2),
    "enas": Enas(learning_rate=0.1, controller_steps=2, aggregate=2, derived=4, entropy_per_choice=True),
    "gaea": Gaea(),
    "gaea, edges": Gaea(edge_weights=True),
    "gaea, single level": Gaea(bilevel=False, exclude_zero=True),
    "gaea_gdas": GaeaGdas(learning_rate=0.1, warmup_epochs=0),
    "gdas": Gdas(learning_rate=0.1),
    "one_shot": OneShotPaths(path_dropout=0.5),
    "pc_darts": PcDarts(learning_rate=0.1, warmup_epochs=0.5),
    "proxyless": Proxyless(learning_rate=0.1, warmup_epochs=0, interval=1),
    "proxyless, reinforce": Proxyless(learning_rate=0.1, warmup_epochs=0, interval=1, form="reinforce", samples=2),
    "proxyless, two": Proxyless(learning_rate=0.1, warmup_epochs=0, interval=1, mode="two"),
    "random_sharing": RandomSharing(),
    "snas": Snas(learning_rate=0.1),
}
SPACES: dict[str, darts.Darts | darts_rnn.DartsRnn | nas_bench_201.NasBench201] = {
    "darts": darts.Darts(layers=3, channels=2, partial_channels=2),
    "darts_rnn": darts_rnn.DartsRnn(hidden=4, nodes=3),
    "nas_bench_201": nas_bench_201.NasBench201(channels=2, cells=1),
}
LEFT_OUT = {
    ("darts, curvature", "darts"),  # for its time alone: differentiates the cells of the DARTS space twice
}
PAIRS = [
    # One form of each method on the largest space: it is slow there, and what its forms do differently is the same.
    pytest.param((name, space), marks=[pytest.mark.exhaustive] if ", " in name and space == "darts" else [])
    for name, space in sorted({(name, space) for name in METHODS for space in SPACES} - LEFT_OUT)
]
EPOCHS = {"darts": 1, "darts_rnn": 2, "nas_bench_201": 2}


@pytest.fixture(autouse=True)
def reproducible() -> Iterator[None]:
    """As in a job."""
    with torch_settings(CPU, threads=1, deterministic=True):
        yield


@pytest.fixture(params=sorted(METHODS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PAIRS, ids="-".join)
def trained(request: pytest.FixtureRequest) -> Search:
    return straight(*request.param)[0]


def search(name: str, space_name: str = "nas_bench_201", seed: int = 1) -> Search:
    return Search.begin(METHODS[name], SPACES[space_name], EPOCHS[space_name], seed)


@cache
def straight(name: str, space_name: str = "nas_bench_201") -> tuple[Search, list[tuple[Any, ...]]]:
    """A search trained to its end without a cut, and what it was after each epoch; nobody may train it further."""
    trained = search(name, space_name)
    return trained, list(trained.train(range(EPOCHS[space_name])))


def assert_known(gates: Gates | None, space: SearchSpace) -> None:
    assert gates is not None
    assert {choice.name for choice in space.choices} == set(gates)
    for choice in space.choices:
        assert gates[choice.name]
        assert set(gates[choice.name]) <= set(choice.options)


def test_every_method_of_experiment_files_is_held_to_the_laws():
    assert {component_class(dotted) for dotted in COMPONENTS["method"].values()} == set(map(type, METHODS.values()))


def test_gates_name_options_of_every_choice_and_no_other(trained: Search):
    assert_known(trained.method.gates(), trained.space)
    assert_known(trained.method.evaluation_gates(), trained.space)


def test_a_method_that_has_learnt_nothing_has_gates_too(name: str):
    fresh = search(name)
    assert_known(fresh.method.gates(), fresh.space)
    assert_known(fresh.method.evaluation_gates(), fresh.space)


def test_what_is_derived_is_complete_and_in_the_space(trained: Search):
    for architecture in trained.method.derive():
        assert {choice.name for choice in trained.space.choices} == set(architecture)
        assert trained.space.contains(architecture)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_a_training_through_the_loop_has_finite_losses_and_diagnostics(pair: tuple[str, str]):
    _, epochs = straight(*pair)
    assert EPOCHS[pair[1]] == len(epochs)
    for measured, diagnostics, _ in epochs:
        assert math.isfinite(measured.loss)
        assert [] == [k for k, v in diagnostics.items() if not isinstance(v, float) or not math.isfinite(v)]


def test_a_split_is_measured_through_the_gates_of_evaluation(trained: Search):
    measured = measure(trained.network, trained.method.evaluation_gates, trained.course, "valid")
    assert math.isfinite(measured.loss)


@pytest.mark.parametrize("space_name", ["darts_rnn", "nas_bench_201"])
@pytest.mark.parametrize("part", ["step", "finish_epoch"])
def test_learning_the_architecture_leaves_the_training_as_it_was(name: str, part: str, space_name: str):
    """Bit for bit: weights, running statistics, momentum, a sequence's state; no gradient is left behind."""
    found = search(name, space_name)
    list(found.train(range(1)))
    found.optimiser.zero_grad(set_to_none=True)
    carried = getattr(found.network, "carried", None)
    before, lesson, carried = found.snapshot(), found.lesson(), None if carried is None else carried.clone()
    modes = [(norm.training, norm.track_running_stats) for norm in norms_of(found.network)]
    if part == "step":
        found.method.step(lesson, found.batch("train"), lambda: found.batch("valid"))
    else:
        found.method.finish_epoch(lesson, lambda: found.batch("valid"))
    after = found.snapshot()
    assert same(before["network"], after["network"])
    assert same(before["optimiser"], after["optimiser"])
    assert same(carried, getattr(found.network, "carried", None))
    assert [] == [name for name, weight in found.network.named_parameters() if weight.grad is not None]
    assert modes == [(norm.training, norm.track_running_stats) for norm in norms_of(found.network)]


def test_no_gradient_waits_in_the_method_for_a_later_step(name: str):
    trained, _ = straight(name)
    assert [] == [name for name, parameter in trained.method.named_parameters() if parameter.grad is not None]


@pytest.mark.parametrize("cut", [0, 1])
def test_a_search_cut_at_an_epoch_and_resumed_is_the_search_that_was_not(name: str, cut: int):
    """The same seed gives the same first part; a stranger that loads it goes on with the same second part."""
    trained, expected = straight(name)
    first = search(name)
    assert all(map(same, expected[:cut], first.train(range(cut))))
    stranger = search(name, seed=2)
    stranger.restore(saved(first.snapshot()))
    actual = list(stranger.train(range(cut, len(expected))))
    assert [[measured, numbers] for measured, numbers, _ in expected[cut:]] == [[m, n] for m, n, _ in actual]
    assert same(expected[-1][2], actual[-1][2])
    torch.manual_seed(3)
    derived = trained.method.derive()
    torch.manual_seed(3)
    assert derived == stranger.method.derive()


def test_what_the_gates_of_a_step_do_not_name_is_not_touched_by_it(name: str, monkeypatch: pytest.MonkeyPatch):
    """Weights, running statistics and momentum, although they have moved before."""
    found = search(name)
    list(found.train(range(1)))
    steps: list[Gates] = []
    gates = found.method.gates
    monkeypatch.setattr(found.method, "gates", lambda: steps.append(gates()) or steps[-1])
    monkeypatch.setattr(found.course.feed, "shuffled", lambda *_: iter([found.batch("train")[:2]]))
    before = found.snapshot()
    list(found.train(range(1, 2)))
    [named] = steps
    after = found.snapshot()
    moved = {key for key, value in after["network"].items() if not torch.equal(before["network"][key], value)}
    unnamed = [
        f"{place}.options.{option}."
        for place, module in found.network.named_modules()
        if isinstance(module, MixedOperation)
        for option in module.options
        if option not in named[module.choice]
    ]
    assert moved
    assert unnamed or any(len(weights) > 1 for weights in named.values())
    assert [] == [key for key in sorted(moved) if key.startswith(tuple(unnamed))]
    momenta = [snapshot["optimiser"]["state"] for snapshot in (before, after)]
    for number, (key, _) in enumerate(found.network.named_parameters()):
        if key.startswith(tuple(unnamed)):
            assert same(*(momentum.get(number) for momentum in momenta))


def test_a_space_without_choices_is_refused(name: str):
    with pytest.raises(OptionError, match="has no choices"):
        METHODS[name].build(IndependentChoices("wide_resnet", ()))


def test_the_method_that_decides_nothing_keeps_its_gates():
    gates = {"a": {"x": 1.0}}
    method = protocol.Fixed(gates)
    assert gates == method.gates() == method.evaluation_gates()
    assert () == method.derive()
    assert {} == method.diagnostics()
