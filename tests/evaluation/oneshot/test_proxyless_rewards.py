"""ProxylessNAS: REINFORCE, latency, when alpha learns, and what its options refuse (Cai et al. 2019, section 3.3)."""

from __future__ import annotations

import json
import math
import pickle
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Literal

import pytest
import torch

from spark_nas.assemble import identity_of
from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot import proxyless
from spark_nas.evaluation.oneshot.proxyless import Proxyless, scored
from spark_nas.spaces.core import Architecture, IndependentChoices
from spark_nas.spaces.latency import LatencyTable
from tests.evaluation.oneshot import supernets
from tests.evaluation.oneshot.supernets import supernet
from tests.evaluation.oneshot.toys import TRAIN
from tests.strategies import plain_space

SPACE = plain_space(3, 2)
NAMES = [choice.name for choice in SPACE.choices]


def table_of(space: IndependentChoices, *, fixed: float = 2.0, least: float = 1.0) -> LatencyTable:
    rng = Random(1)
    return LatencyTable(fixed, {c.name: {o: rng.uniform(least, least + 4) for o in c.options} for c in space.choices})


def written(table: LatencyTable, folder: Path) -> str:
    (folder / "table.json").write_text(table.to_json())
    return str(folder / "table.json")


@pytest.fixture
def latency(tmp_path: Path) -> str:
    return written(table_of(SPACE), tmp_path)


@pytest.mark.parametrize("baseline", [0.0, 0.7])
def test_reinforce_is_the_gradient_of_the_mean_reward_over_all_networks(baseline: float):
    """sum_a p(a) (R(a) - b) grad log p(a) = grad sum_a p(a) R(a), for any b; an absent column has no part."""
    torch.manual_seed(1)
    alpha_EK = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    log_p_EK = alpha_EK.masked_fill(torch.tensor([[False] * 3, [False, False, True]]), -math.inf).log_softmax(-1)
    networks = torch.tensor(list(product(range(3), range(2))))
    rewards = torch.rand(len(networks), dtype=torch.float64)
    log_p_S = log_p_EK[torch.arange(2), networks].sum(-1)
    [expected] = torch.autograd.grad((log_p_S.exp() * rewards).sum(), alpha_EK, retain_graph=True)
    actual = torch.zeros_like(alpha_EK)
    for network, reward, log_p in zip(networks, rewards, log_p_S, strict=True):
        term = scored(log_p_EK, network[None], (reward - baseline)[None])
        actual += log_p.exp() * torch.autograd.grad(term, alpha_EK, retain_graph=True)[0]
    assert (expected - actual).abs().max() < 1e-15
    assert expected.abs().max() > 1e-2
    [together] = torch.autograd.grad(scored(log_p_EK, networks, rewards), alpha_EK, retain_graph=True)
    each = [
        torch.autograd.grad(scored(log_p_EK, n[None], r[None]), alpha_EK, retain_graph=True)[0]
        for n, r in zip(networks, rewards, strict=True)
    ]
    assert torch.allclose(torch.stack(each).mean(0), together, atol=1e-15)


def test_a_step_learns_from_rewards_above_the_baseline_of_the_steps_before(
    latency: str, monkeypatch: pytest.MonkeyPatch
):
    """The reward is accuracy * (ref / latency)**0.1; the first step's own mean is its baseline."""
    options = Proxyless(
        warmup_epochs=0, interval=1, form="reinforce", samples=2, baseline_decay=0.9, latency=latency, reference=8.0
    )
    torch.manual_seed(1)
    method, student, table = options.build(SPACE).double(), supernet(SPACE), table_of(SPACE)
    draws = [(0, 1), (2, 0), (1, 1), (2, 1)]
    queue = iter(draws)
    monkeypatch.setattr(proxyless, "draw", lambda log_p: torch.tensor(next(queue)))
    learnt: list[torch.Tensor] = []
    monkeypatch.setattr(method.weights, "learn", lambda slopes: learnt.append(slopes[0]))
    method.waited.fill_(1)
    for _ in range(2):
        method.step(student, TRAIN, lambda: supernets.batch(64))
    rewards = []
    for columns in draws:
        network = {name: f"o{column}" for name, column in zip(NAMES, columns, strict=True)}
        data = supernets.batch(64)
        logits = student.network(data.x, {name: {option: 1.0} for name, option in network.items()})
        accuracy = (logits.argmax(1) == data.y).double().mean().item()
        rewards.append(accuracy * (8.0 / table.of(Architecture(network))) ** 0.1)
    mean = sum(rewards[:2]) / 2
    log_p_EK = method.weights.log_probabilities((alpha := method.weights.leaves()[0],))
    for step, baseline in enumerate([mean, mean]):  # the first step leaves its mean as the second's baseline
        chosen, of_step = (
            draws[2 * step : 2 * step + 2],
            torch.tensor(rewards[2 * step : 2 * step + 2], dtype=torch.float64),
        )
        [expected] = torch.autograd.grad(
            -scored(log_p_EK, torch.tensor(chosen), of_step - baseline), alpha, retain_graph=True
        )
        assert torch.allclose(expected, learnt[step], atol=1e-12)
        assert expected.abs().max() > 1e-4
    assert pytest.approx(0.9 * mean + 0.1 * sum(rewards[2:]) / 2) == method.diagnostics()["baseline"]


def test_reinforce_prefers_fast_networks_where_all_are_as_right(tmp_path: Path):
    torch.manual_seed(1)
    table = LatencyTable(0.0, {"a": {"o0": 9.0, "o1": 1.0, "o2": 9.0}, "b": {"o0": 1.0, "o1": 9.0}})
    options = Proxyless(
        warmup_epochs=0,
        interval=1,
        form="reinforce",
        learning_rate=0.2,
        samples=4,
        latency=written(table, tmp_path),
        reference=2.0,
        reward_power=1.0,
    )
    method, student = options.build(SPACE), supernet(SPACE)
    for parameter in student.network.choices.parameters():
        torch.nn.init.zeros_(parameter)
    for _ in range(60):
        method.step(student, TRAIN, supernets.batch)
    assert (Architecture({"a": "o1", "b": "o0"}),) == method.derive()
    assert method.weights.probabilities(method.weights.leaves())[:, [1, 0]].diagonal().min() > 0.9


def test_the_expected_latency_is_the_mean_of_sampled_networks(latency: str):
    torch.manual_seed(1)
    method, table, n = Proxyless(latency=latency, reference=8.0, init_scale=1.0).build(SPACE), table_of(SPACE), 4000
    seen = [
        table.of(Architecture({name: option for name, row in method.gates().items() for option in row}))
        for _ in range(n)
    ]
    mean = sum(seen) / n
    error = math.sqrt(sum((value - mean) ** 2 for value in seen) / (n - 1) / n)
    assert error > 0
    assert abs(mean - method.diagnostics()["expected_latency"]) < 4 * error


def test_the_two_losses_of_latency_are_those_of_the_paper_and_of_the_release(latency: str):
    loss, expected = torch.tensor(1.5, dtype=torch.float64), torch.tensor(90.0, dtype=torch.float64)
    added = Proxyless(latency=latency, reference=80.0)
    assert pytest.approx(1.5 + 0.1 * 10 / 80) == added.with_latency(loss, expected).item()
    multiplied = Proxyless(latency=latency, reference=80.0, latency_loss="multiplied")
    assert pytest.approx(0.2 * 1.5 * (math.log(90) / math.log(80)) ** 0.3) == (
        multiplied.with_latency(loss, expected).item()
    )


@pytest.mark.parametrize("mode", ["full", "two"])
@pytest.mark.parametrize("latency_loss", ["added", "multiplied"])
def test_latency_moves_probability_to_fast_options(
    latency_loss: Literal["added", "multiplied"], mode: Literal["full", "two"], tmp_path: Path
):
    torch.manual_seed(1)
    table = LatencyTable(2.0, {"a": {"o0": 9.0, "o1": 1.0, "o2": 9.0}, "b": {"o0": 1.0, "o1": 9.0}})
    options = Proxyless(
        warmup_epochs=0,
        interval=1,
        mode=mode,
        learning_rate=0.1,
        latency=written(table, tmp_path),
        reference=4.0,
        latency_loss=latency_loss,
    )
    method, student = options.build(SPACE), supernet(SPACE)
    for parameter in student.network.choices.parameters():
        torch.nn.init.zeros_(parameter)  # all options are alike, but for their latency
    before = method.diagnostics()["expected_latency"]
    for _ in range(60):
        method.step(student, TRAIN, supernets.batch)
    assert (Architecture({"a": "o1", "b": "o0"}),) == method.derive()
    assert method.diagnostics()["expected_latency"] < before - 2


def test_alpha_learns_at_intervals_once_the_weights_are_warm():
    """Five steps on the weights come before each on alpha; a resume does not begin to count anew."""
    options = Proxyless(warmup_epochs=2, learning_rate=0.1)
    method, student = options.build(SPACE), supernet(SPACE)
    asked: list[int] = []
    for step in range(40):
        student.epochs = step / 10
        if step == 28:
            state = method.state_dict()
            method = options.build(SPACE)
            method.load_state_dict(state)
        method.step(student, TRAIN, lambda step=step: asked.append(step) or supernets.batch())
    assert [25, 30, 35] == asked


def test_the_options_carry_their_table_to_workers_without_the_file(latency: str):
    options = Proxyless(latency=latency, reference=8.0)
    packed = pickle.dumps(options)
    Path(latency).unlink()
    there = pickle.loads(packed)
    assert table_of(SPACE) == there.table
    assert options == there
    assert "expected_latency" in there.build(SPACE).diagnostics()
    assert "expected_latency" not in Proxyless().build(SPACE).diagnostics()


def test_the_table_is_part_of_an_experiments_identity(latency: str):
    described = json.loads(json.dumps(identity_of(Proxyless(latency=latency, reference=8.0))))
    assert ("proxyless", latency) == (described["name"], described["latency"])
    assert json.loads(table_of(SPACE).to_json()) == described["table"]


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("form", {"form": "evolution"}),
        ("mode", {"mode": "three"}),
        ("mode", {"mode": "two", "form": "reinforce"}),
        ("betas", {"mode": "two", "betas": (0.5, 0.999)}),
        ("weight_decay", {"mode": "two", "weight_decay": 1e-3}),
        ("interval", {"interval": 0}),
        ("samples", {"samples": 0}),
        ("baseline_decay", {"baseline_decay": 1.0}),
        ("latency_loss", {"latency_loss": "squared"}),
        ("latency_weight", {"latency_weight": -1.0}),
        ("reference", {"reference": 8.0}),
        ("reference", {"latency": "table.json"}),
        ("reference", {"latency": "table.json", "reference": 0.0}),
        ("reference", {"latency": "table.json", "reference": 1.0, "latency_loss": "multiplied"}),
        ("latency", {"latency": "no such file", "reference": 8.0}),
    ],
)
def test_unusable_options_are_refused_by_name(key: str, given: dict[str, Any]):
    with pytest.raises(OptionError) as caught:
        Proxyless(**given)
    assert key == caught.value.key


@pytest.mark.parametrize("given", [{"latency_loss": "multiplied"}, {"form": "reinforce"}])
def test_a_network_too_fast_for_the_formula_is_refused(given: dict[str, Any], tmp_path: Path):
    fast = {"a": {"o0": 0.0, "o1": 5.0, "o2": 5.0}, "b": {"o0": 0.0, "o1": 5.0}}
    latency = written(LatencyTable(0.0, fast), tmp_path)
    with pytest.raises(OptionError, match="fastest network") as caught:
        Proxyless(latency=latency, reference=8.0, **given).build(SPACE)
    assert "latency" == caught.value.key
    Proxyless(latency=latency, reference=8.0).build(SPACE)
