"""SNAS: one backward for weights and architecture, the temperature, the resource term (Xie et al. 2019, section 2)."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.feed import Feed
from spark_nas.evaluation.loop import Course, descend, fit
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.oneshot.snas import ResourceGradient, Snas, SnasMethod, log_concrete
from spark_nas.evaluation.training import Training
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.latency import LatencyTable
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.oneshot import supernets
from tests.evaluation.oneshot.supernets import Learner, supernet
from tests.evaluation.oneshot.toys import VALID
from tests.evaluation.training_support import Digits
from tests.strategies import plain_space

SPACE = plain_space(3, 2)
TABLE = LatencyTable(7.0, {"a": {"o0": 9.0, "o1": 1.0, "o2": 9.0}, "b": {"o0": 1.0, "o1": 9.0}})
COSTS = torch.tensor([[9.0, 1.0, 9.0], [1.0, 9.0, 0.0]], dtype=torch.float64)


@pytest.fixture
def resources(tmp_path: Path) -> str:
    (tmp_path / "table.json").write_text(TABLE.to_json())
    return str(tmp_path / "table.json")


def made(options: Snas) -> SnasMethod:
    torch.manual_seed(1)
    return options.build(SPACE).double()


def trained(method: SnasMethod, student: Learner, *, steps: int = 1) -> None:
    """As the loop does it: both learn from one forward and one backward a step."""
    for step in range(steps):
        data = supernets.batch(seed=step, split="train")
        method.step(student, data, lambda: pytest.fail("single level: no validation data"))
        descend(student.loss(data, method.gates()), student.network, student.optimiser, 0.0)
    method.finish_epoch(student, lambda: VALID)


def test_weights_and_architecture_are_those_of_two_optimisers_after_one_backward(resources: str):
    """Up to the order in which gradients are added, over several steps, the resource term included."""
    options = Snas(learning_rate=0.1, resources=resources, resource_weight=0.01)
    method, student = made(options), supernet(SPACE)
    twin, twins = copy.deepcopy(method.weights.alpha), copy.deepcopy(student)
    adam = optim.Adam([twin], lr=0.1, betas=(0.5, 0.999), weight_decay=1e-3)
    twins.optimiser = optim.SGD(twins.network.parameters(), lr=0.1, momentum=0.9)
    torch.manual_seed(2)
    trained(method, student, steps=4)
    torch.manual_seed(2)
    for step in range(4):
        data = supernets.batch(seed=step)
        log_p_EK = twin.masked_fill(torch.tensor([[False] * 3, [False, False, True]]), -torch.inf).log_softmax(-1)
        z_EK = log_concrete(log_p_EK, 1.0).exp()
        loss = twins.loss(data, method.weights.layout.gates(z_EK)) + 0.01 * (z_EK * COSTS).sum()
        adam.zero_grad()
        twins.optimiser.zero_grad()
        loss.backward()
        twins.optimiser.step()
        adam.step()
    assert torch.allclose(twin, method.weights.alpha, rtol=1e-12, atol=0)
    for expected, actual in zip(twins.network.parameters(), student.network.parameters(), strict=True):
        assert torch.allclose(expected, actual, rtol=1e-12, atol=0)
    assert (twin - made(options).weights.alpha)[COSTS > 0].abs().min() > 1e-3


def test_the_loop_runs_the_network_once_a_step():
    space = NasBench201(channels=2, cells=1)
    dataset = Digits((("train", 64), ("valid", 16)))
    torch.manual_seed(1)
    network = build(space, SUPERNET, {}, dataset.input_shape, dataset.classes, affine=False)
    runs: list[bool] = []
    network.register_forward_hook(lambda *_: runs.append(torch.is_grad_enabled()))
    method, options = Snas(learning_rate=0.1).build(space.build()), Training(batch_size=16)
    before = method.weights.alpha.detach().clone()
    course = Course(options, Feed(dataset, torch.device("cpu"), Augmentation()), ("train",), 1, 1, lambda: None)
    list(fit(network, method, optim.SGD(network.parameters(), lr=0.1), course, range(1)))
    assert [True] * 4 == runs
    assert ["train"] == dataset.passes
    assert (method.weights.alpha - before).abs().min() > 0.01  # Adam has moved each by up to 0.1 four times
    assert method.weights.alpha.grad is None


def test_every_option_runs_with_its_part_of_the_sample_and_the_weights_see_the_same_one():
    method, student = made(Snas()), supernet(SPACE)
    torch.manual_seed(3)
    method.step(student, supernets.batch(), lambda: VALID)
    gates = method.gates()
    torch.manual_seed(3)
    expected_EK = log_concrete(method.weights.log_probabilities(method.weights.leaves()), 1.0).exp()
    assert torch.equal(torch.stack(list(gates["a"].values())), expected_EK[0])
    assert torch.equal(torch.stack(list(gates["b"].values())), expected_EK[1, :2])
    again = method.gates()
    assert not again["a"]["o0"].requires_grad  # a second look is a sample of its own, and teaches nothing
    assert again["a"]["o0"] != gates["a"]["o0"]


def test_what_is_measured_is_samples_at_the_temperature_of_the_last_step():
    method, student = made(Snas()), supernet(SPACE)
    student.epochs = 9.0
    method.step(student, supernets.batch(), lambda: VALID)
    restored = made(Snas())
    restored.load_state_dict(method.state_dict())
    torch.manual_seed(4)
    gates = method.evaluation_gates()
    torch.manual_seed(4)
    assert gates == restored.evaluation_gates()
    assert pytest.approx(0.03) == method.diagnostics()["temperature"] == restored.diagnostics()["temperature"]
    assert not gates["a"]["o0"].requires_grad
    assert pytest.approx(1.0) == sum(gates["a"].values()).item()


def test_the_temperature_falls_linearly_or_stays_as_released():
    assert pytest.approx([1 - 0.97 * epoch / 9 for epoch in range(10)]) == [
        Snas().temperature_at(epoch, 10) for epoch in range(10)
    ]
    assert {1.0} == {Snas(anneal=False).temperature_at(epoch, 10) for epoch in range(10)}


def test_the_logits_begin_at_one():
    torch.manual_seed(1)
    log_a_EK = Snas().build(plain_space(*[5] * 40)).weights.alpha
    assert pytest.approx(1.0, abs=0.003) == log_a_EK.mean().item()
    assert pytest.approx(0.01, rel=0.2) == log_a_EK.std().item()


def test_only_weights_learn_while_warming_up():
    method, student = made(Snas(warmup_epochs=1)), supernet(SPACE)
    before, weights = method.weights.alpha.clone(), copy.deepcopy(student.network.state_dict())
    trained(method, student, steps=2)
    assert torch.equal(before, method.weights.alpha)
    assert not torch.equal(weights["head.weight"], student.network.state_dict()["head.weight"])


@pytest.mark.parametrize("gradient", ["reparameterisation", "policy"])
def test_the_resource_term_leads_to_cheap_networks(gradient: ResourceGradient, resources: str):
    """Where all options are as right; the loss has no part in it."""
    options = Snas(learning_rate=0.1, resources=resources, resource_weight=0.1, resource_gradient=gradient)
    method, student = made(options), supernet(SPACE)
    student.optimiser = optim.SGD(student.network.parameters(), lr=0.0)
    for parameter in student.network.choices.parameters():
        nn.init.zeros_(parameter)
    before = method.diagnostics()
    trained(method, student, steps=150)
    after = method.diagnostics()
    assert (Architecture({"a": "o1", "b": "o0"}),) == method.derive()
    assert pytest.approx(7.0 + (9 + 1 + 9) / 3 + (1 + 9) / 2, abs=0.1) == before["expected_cost"]
    assert after["expected_cost"] < 11
    assert after["entropy"] < before["entropy"]


def test_it_finds_the_option_that_answers_right():
    space = plain_space(3, 3)
    torch.manual_seed(1)
    method, student = Snas(learning_rate=0.1).build(space), supernet(space, _scales)
    student.optimiser = optim.SGD(student.network.parameters(), lr=0.0)
    with torch.no_grad():
        student.network.head.weight.copy_(torch.eye(3, 4))
    for student.epochs in range(10):
        trained(method, student, steps=10)
    assert (Architecture({"a": "o2", "b": "o2"}),) == method.derive()
    assert method.weights.probabilities(method.weights.leaves())[:, 2].min() > 0.8


def _scales(option: str) -> nn.Module:
    convolution = nn.Conv2d(4, 4, 1, bias=False, dtype=torch.float64)
    weight: Tensor = torch.eye(4, dtype=torch.float64) * {"o0": -0.5, "o1": 0.0, "o2": 2.0}[option]
    convolution.weight = nn.Parameter(weight[:, :, None, None])
    return convolution


def test_the_options_carry_their_table_to_workers_without_the_file(resources: str):
    options = Snas(resources=resources, resource_weight=0.1)
    packed = pickle.dumps(options)
    Path(resources).unlink()
    assert TABLE == pickle.loads(packed).table
    assert "expected_cost" in pickle.loads(packed).build(SPACE).diagnostics()


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("temperature", {"temperature": 0.0}),
        ("init_mean", {"init_mean": float("inf")}),
        ("init_mean", {"init_mean": float("nan")}),
        ("resource_weight", {"resource_weight": -1.0}),
        ("resource_weight", {"resource_weight": 1.0}),
        ("resource_weight", {"resources": "table.json"}),
        ("resource_gradient", {"resource_gradient": "guess"}),
        ("resources", {"resources": "no such file", "resource_weight": 1.0}),
    ],
)
def test_unusable_options_are_refused_by_name(key: str, given: dict[str, Any]):
    with pytest.raises(OptionError) as caught:
        Snas(**given)
    assert key == caught.value.key


def test_a_table_of_another_space_is_refused(resources: str):
    with pytest.raises(OptionError) as caught:
        Snas(resources=resources, resource_weight=1.0).build(plain_space(3, 2, 2))
    assert "resources" == caught.value.key
