"""GDAS (Dong and Yang 2019): sampler, straight-through gradient, temperature; and GAEA on it (Li et al. 2021)."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from scipy.stats import chisquare  # type: ignore[import-untyped]
from torch import nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.mixed import MixedOperation
from spark_nas.evaluation.oneshot.gaea_gdas import GaeaGdas
from spark_nas.evaluation.oneshot.gdas import Gdas, drawn_gates
from spark_nas.evaluation.oneshot.paths import gumbel_like
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.oneshot.toys import TRAIN, VALID, ToyLearner, learner, linear, plain_space

P = torch.tensor([0.1, 0.2, 0.3, 0.4])


def test_options_are_drawn_by_their_probabilities():
    torch.manual_seed(1)
    method = Gdas().build(plain_space(*[4] * 25))
    method.weights.alpha.data.copy_(P.log())
    drawn = Counter(option for _ in range(400) for row in method.gates().values() for option in row)
    assert chisquare([drawn[f"o{index}"] for index in range(4)], [1000, 2000, 3000, 4000]).pvalue > 0.001


@pytest.mark.parametrize("options", [Gdas(), GaeaGdas(warmup_epochs=0)])
@pytest.mark.parametrize("temperature", [10.0, 1.0, 0.1])
def test_the_gradient_of_a_draw_is_that_of_its_softmax_weight(options: Gdas | GaeaGdas, temperature: float):
    """dL/dlog p_j = cost_i * h_i (delta_ij - h_j) / tau of the option drawn; of theta that, divided by theta_j."""
    torch.manual_seed(2)
    weights = options.build(plain_space(4)).weights.double()
    leaves = [P.double()[None].log().requires_grad_() if isinstance(options, Gdas) else P.double()[None]]
    leaves[0].requires_grad_()
    torch.manual_seed(3)
    gates = drawn_gates(weights, leaves, temperature=temperature)
    torch.manual_seed(3)
    h = ((P.double().log() + gumbel_like(P.double()[None])[0]) / temperature).softmax(-1)
    i = int(h.argmax())
    assert [f"o{i}"] == list(gates["a"])
    assert 1.0 == gates["a"][f"o{i}"].item()
    (3.0 * gates["a"][f"o{i}"]).backward()
    expected = 3.0 * h[i] * (nn.functional.one_hot(torch.tensor(i), 4) - h) / temperature
    if isinstance(options, GaeaGdas):
        expected = expected / P
    assert leaves[0].grad is not None
    assert torch.allclose(expected, leaves[0].grad[0], rtol=1e-9)


@pytest.mark.parametrize("options", [Gdas(learning_rate=0.05), GaeaGdas(learning_rate=0.05, warmup_epochs=0)])
def test_it_finds_the_cheapest_option(options: Gdas | GaeaGdas):
    torch.manual_seed(1)
    method = options.build(plain_space(4, 4))
    student = learner(linear({"a": [1, 1, -1, 1], "b": [-1, 1, 1, 1]}))
    for student.epochs in range(10):
        for _ in range(60):
            method.step(student, TRAIN, lambda: VALID)
    assert (Architecture({"a": "o2", "b": "o0"}),) == method.derive()
    assert {"a": {"o2": 1.0}, "b": {"o0": 1.0}} == method.evaluation_gates()
    assert {"valid"} == set(student.asked)


def test_the_temperature_falls_linearly_an_epoch_at_a_time():
    options = Gdas()
    assert pytest.approx([10 - 9.9 * epoch / 9 for epoch in range(10)]) == [
        options.temperature_at(epoch, 10) for epoch in range(10)
    ]
    assert options.temperature_at(3, 10) == options.temperature_at(3.99, 10)
    assert pytest.approx(0.1) == options.temperature_at(12, 10)
    assert 10.0 == options.temperature_at(0, 1)


def test_the_temperature_waits_for_the_warm_up_and_still_arrives():
    options = GaeaGdas(warmup_epochs=4)
    assert [10.0] * 5 == [options.temperature_at(epoch, 10) for epoch in range(5)]
    assert pytest.approx([10 - 9.9 / 5, 0.1]) == [options.temperature_at(epoch, 10) for epoch in (5, 9)]


def test_a_step_is_at_the_temperature_of_its_epoch():
    """Of theta, hot: dL/dtheta is small then, so that it moves less."""
    moved = {}
    for epoch in (0, 9):
        torch.manual_seed(4)
        method = GaeaGdas(warmup_epochs=0, entropic_weight=0).build(plain_space(*[4] * 50))
        before = method.weights.log_theta.clone()
        student = learner(linear({name: [1, 2, 3, 4] for name in method.weights.layout.rows}))
        student.epochs = epoch
        method.step(student, TRAIN, lambda: VALID)
        moved[epoch] = (method.weights.log_theta - before).abs().sum().item()
    assert moved[9] > 3 * moved[0] > 0


def test_while_it_warms_up_probabilities_stay_uniform():
    method = GaeaGdas(warmup_epochs=2).build(plain_space(4))
    student = learner(linear({"a": [1, 2, 3, 4]}))
    student.epochs = 1.9
    method.step(student, TRAIN, lambda: pytest.fail("not needed"))
    assert pytest.approx([0.25] * 4) == method.weights.probabilities(method.weights.leaves())[0].tolist()


def counted(network: nn.Module) -> Counter[str]:
    """How often an option of each mixed operation runs from now on."""
    runs: Counter[str] = Counter()
    for place, module in network.named_modules():
        if isinstance(module, MixedOperation):
            runs[place] = 0
            for option in module.options.values():
                option.register_forward_hook(lambda *_, place=place: runs.update([place]))
    return runs


@pytest.mark.parametrize("options", [Gdas(), GaeaGdas(warmup_epochs=0)])
def test_one_option_of_each_edge_runs_in_a_step_on_the_architecture(options: Gdas | GaeaGdas):
    torch.manual_seed(1)
    space = NasBench201(channels=4, cells=1)
    network = build(space, SUPERNET, {}, (1, 8, 8), 10, affine=False)
    x, y = torch.randn(4, 1, 8, 8), torch.arange(4)
    runs = counted(network)

    def objective(batch: Batch, gates: Gates) -> torch.Tensor:
        return nn.functional.cross_entropy(network(batch.x, gates), batch.y)

    method = options.build(space.build())
    student = ToyLearner(objective, network, torch.optim.SGD(network.parameters(), lr=0.1))
    method.step(student, Batch(x, y), lambda: Batch(x, y, "valid"))
    assert {1} == set(runs.values())
    assert 18 == len(runs)


@pytest.mark.parametrize("wrong", [{"temperature": 0.0}, {"last_temperature": float("inf")}])
def test_a_temperature_out_of_range_is_refused_by_name(wrong: dict[str, float]):
    with pytest.raises(OptionError) as caught:
        Gdas(**wrong)
    assert list(wrong) == [caught.value.key]
