"""One-Shot: how many paths are left, what a dropped one keeps, and what a score of a path is worth."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.loop import Lesson, descend
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.mixed import MixedOperation
from spark_nas.evaluation.norms import batch_statistics, norms_of
from spark_nas.evaluation.oneshot.one_shot import OneShotMethod, OneShotPaths, Place, places
from spark_nas.evaluation.oneshot.protocol import Batch, path
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET
from spark_nas.spaces import darts, darts_rnn, enas_macro, enas_micro, nas_bench_201, proxyless
from spark_nas.spaces.core import Choice, IndependentChoices

IMAGES: dict[str, Any] = {
    "darts": darts.Darts(layers=3, channels=2),
    "enas_macro": enas_macro.EnasMacro(layers=3, filters=2),
    "enas_micro": enas_micro.EnasMicro(nodes=2, layers=3, filters=2),
    "nas_bench_201": nas_bench_201.NasBench201(channels=2, cells=1),
    "proxyless": proxyless.Proxyless(width=0.25, widths=(24, 40), depths=(2, 1), strides=(1, 2), stem_stride=1),
}
TEN = tuple(("edge", str(number)) for number in range(10))


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def supernet(name: str) -> nn.Module:
    return build(IMAGES[name], SUPERNET, {}, (1, 8, 8), 10, affine=False, seed=1)


def batch() -> Batch:
    return Batch(torch.randn(6, 1, 8, 8), torch.randint(10, (6,)))


def at(name: str, rate: float) -> OneShotMethod:
    """The method of a space at a rate."""
    method = OneShotPaths().build(IMAGES[name].build())
    method.rate.fill_(rate)
    return method


@pytest.mark.parametrize("keeps_one", [False, True])
@pytest.mark.parametrize(("count", "rate"), [(1, 0.3), (4, 0.1), (10, 0.5), (10, 0.01)])
def test_the_expected_number_of_surviving_paths(count: int, rate: float, keeps_one: bool):
    """k (1 - r ** (1/k)), and where one must be left, r more; within 4.5 standard errors of 3000 draws."""
    place, draws = Place(TEN[:count], keeps_one), 3000
    numbers = [len(place.draw(rate)) for _ in range(draws)]
    chance = 1 - rate ** (1 / count)
    expected = count * chance + rate * keeps_one
    error = math.sqrt(count * chance * (1 - chance) / draws)
    assert pytest.approx(expected, abs=4.5 * error) == sum(numbers) / draws
    lost = numbers.count(0) / draws
    assert pytest.approx(0 if keeps_one else rate, abs=4.5 * math.sqrt(rate * (1 - rate) / draws)) == lost


def test_a_place_that_loses_all_paths_keeps_any_of_them_alike():
    """Chi-square with 9 degrees of freedom: 27.9 is exceeded once in a thousand."""
    place, draws = Place(TEN, keeps_one=True), 3000
    left = [place.draw(1 - 1e-12) for _ in range(draws)]
    counts = [left.count([one]) for one in TEN]
    assert draws == sum(counts)
    assert sum((count - draws / 10) ** 2 / (draws / 10) for count in counts) < 27.9


def test_places_are_nodes_with_all_options_of_their_edges_but_none():
    found = places(IMAGES["nas_bench_201"].build())
    assert [4, 8, 12] == [len(place.paths) for place in found]
    assert [14, 21, 28, 35] * 2 == [len(place.paths) for place in places(IMAGES["darts"].build())]
    assert [4, 8] == [len(place.paths) for place in places(darts_rnn.DartsRnn(nodes=2).build())]
    assert all(place.keeps_one for place in found)
    assert all(option != "none" for place in found for _, option in place.paths)


@pytest.mark.parametrize("name", ["enas_macro", "enas_micro", "proxyless"])
def test_places_are_the_choices_where_there_are_no_edges(name: str):
    space = IMAGES[name].build()
    found = {place.paths[0][0]: place for place in places(space)}
    for choice in space.choices:
        options = [option for option in choice.options if option != "none"]
        assert [(choice.name, option) for option in options] == list(found[choice.name].paths)
        assert found[choice.name].keeps_one == ("none" not in choice.options)


def test_choices_that_may_be_none_and_are_no_edges_are_places_of_their_own():
    space = IndependentChoices("toy", (Choice("a", ("none", "x")), Choice("b", ("none",))))
    assert [Place((("a", "x"),), keeps_one=False)] == places(space)
    method = OneShotPaths().build(space)
    assert {"a": {"x": 1.0}, "b": {"none": 1.0}} == method.gates()
    method.rate.fill_(1 - 1e-12)
    assert {"a": {"none": 1.0}, "b": {"none": 1.0}} == method.gates()


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_at_rate_0_the_network_is_the_full_sum(name: str):
    space, network, x_BCHW = IMAGES[name].build(), supernet(name), batch().x
    everything = {choice.name: dict.fromkeys(choice.options, 1.0) for choice in space.choices}
    network.eval()
    with torch.no_grad(), batch_statistics(norms_of(network)):
        torch.testing.assert_close(network(x_BCHW, everything), network(x_BCHW, at(name, 0.0).gates()))


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_at_any_rate_what_is_left_is_a_network(name: str):
    network, one = supernet(name).train(), batch()
    for rate in (0.5, 1 - 1e-12):
        loss = nn.functional.cross_entropy(network(one.x, at(name, rate).gates()), one.y)
        loss.backward()
        assert loss.isfinite()


def test_the_rate_rises_linearly_over_the_whole_training():
    network = supernet("nas_bench_201")
    method = OneShotPaths(path_dropout=0.4).build(IMAGES["nas_bench_201"].build())
    lesson = Lesson(network, optim.SGD(network.parameters(), lr=0.1), Training(), horizon=8)
    rates = []
    for epochs in (0.0, 2.0, 3.5, 8.0):
        lesson.epochs = epochs
        method.step(lesson, batch(), batch)
        rates.append(method.diagnostics()["path_dropout"])
    assert [0.0, 0.1, pytest.approx(0.175), 0.4] == rates
    again = OneShotPaths(path_dropout=0.4).build(IMAGES["nas_bench_201"].build())
    again.load_state_dict(method.state_dict())
    assert method.diagnostics() == again.diagnostics()


def test_a_dropped_path_is_not_moved_by_decay_nor_momentum_nor_statistics():
    network, method = supernet("nas_bench_201").train(), at("nas_bench_201", 0.0)
    optimiser = optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)

    def step() -> dict[str, dict[str, float]]:
        one, gates = batch(), dict(method.gates())
        descend(nn.functional.cross_entropy(network(one.x, gates), one.y), network, optimiser, 0.0)
        return gates

    step()
    before = copy.deepcopy(network.state_dict())
    method.rate.fill_(0.5)
    gates = step()
    moved = {key for key, value in network.state_dict().items() if not torch.equal(before[key], value)}
    owners = {
        f"{place}.options.{option}.": option in gates[module.choice]
        for place, module in network.named_modules()
        if isinstance(module, MixedOperation)
        for option in module.options
    }
    assert {True, False} == set(owners.values())
    assert [] == [key for key in moved for owner, runs in owners.items() if key.startswith(owner) and not runs]
    assert any(key.startswith(owner) for key in moved for owner, runs in owners.items() if runs)


@pytest.mark.parametrize("name", sorted(IMAGES))
def test_a_path_of_the_supernet_is_the_sub_network_with_its_weights(name: str):
    """After some steps of training; by the batch's statistics, as it is scored, and by the running ones."""
    network, method = supernet(name).train(), at(name, 0.3)
    optimiser = optim.SGD(network.parameters(), lr=0.05)
    for _ in range(2):
        one = batch()
        descend(nn.functional.cross_entropy(network(one.x, method.gates()), one.y), network, optimiser, 5.0)
    architecture = {choice: next(iter(options)) for choice, options in method.evaluation_gates().items()}
    decided = SUPERNET.replace(architecture)
    child = build(IMAGES[name], decided, {}, (1, 8, 8), 10, affine=False, seed=2)
    shared = network.state_dict()
    child.load_state_dict({key: shared[key] for key in child.state_dict()})
    x_BCHW = batch().x
    network.eval()
    child.eval()
    with torch.no_grad():
        torch.testing.assert_close(child(x_BCHW), network(x_BCHW, path(decided)), rtol=0, atol=1e-6)
        with batch_statistics(norms_of(network)), batch_statistics(norms_of(child)):
            torch.testing.assert_close(child(x_BCHW), network(x_BCHW, path(decided)), rtol=0, atol=1e-6)


def test_a_supernet_is_measured_by_single_paths_of_the_space():
    space = IMAGES["darts"].build()
    method = OneShotPaths().build(space)
    drawn = [SUPERNET.replace({c: next(iter(o)) for c, o in method.evaluation_gates().items()}) for _ in range(5)]
    assert all(space.contains(one) and len(one) == len(space.choices) for one in drawn)
    assert 5 == len(set(drawn))
    assert () == method.derive()


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float):
    with pytest.raises(OptionError, match="path_dropout"):
        OneShotPaths(path_dropout=rate)
