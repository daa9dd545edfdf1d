"""The gradient of ENAS is that of the expected reward, by enumeration; and what its steps come to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spark_nas.evaluation.oneshot.enas import Enas, EnasMethod, bonus
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices

SPACE = IndependentChoices("toy", (Choice("a", ("x", "y", "z")), Choice("b", ("x", "y", "z"))))
EVERY = torch.cartesian_prod(torch.arange(3), torch.arange(3))
PLAIN: dict[str, Any] = {"tanh_constant": 0.0, "operation_divisor": 1.0, "convolution_logit": 0.0}
BEST = Architecture({"a": "z", "b": "y"})


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def decisive(**options: Any) -> EnasMethod:  # noqa: ANN401
    """A method in double precision whose policy is far from uniform."""
    made = Enas(hidden=8, **{**PLAIN, **options}).build(SPACE).double()
    with torch.no_grad():
        for parameter in made.controller.parameters():
            parameter.uniform_(-1.5, 1.5)
    return made


def gradient(loss: Tensor, method: EnasMethod) -> Tensor:
    parts = torch.autograd.grad(loss, list(method.controller.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])


def expected_step(method: EnasMethod, options: Enas, rewards: Tensor, baseline: float) -> Tensor:
    """The mean of REINFORCE's gradient over all architectures, by the probability with which each is drawn."""
    total = torch.zeros(())
    for row, reward in zip(EVERY.split(1), rewards, strict=True):
        rollout = method.controller.replay(row)
        probability = rollout.log_p_of_decisions().sum().exp().item()
        advantage_N = reward + bonus(rollout, options) - baseline
        total = total + probability * gradient(method.loss(rollout, advantage_N), method)
    return total


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("baseline", [0.0, 0.7, -5.0])
def test_the_expected_gradient_is_that_of_expected_reward_and_entropy(baseline: float, weight: float):
    """By enumeration, whatever the baseline; the policy's entropy is the one of whole architectures."""
    method, options = decisive(entropy_weight=weight), Enas(entropy_weight=weight)
    rewards = torch.rand(9, dtype=torch.float64)
    log_p_N = method.controller.replay(EVERY).log_p_of_decisions().sum(1)
    objective = (log_p_N.exp() * (rewards - weight * log_p_N)).sum()
    expected = gradient(-objective, method)
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(expected, expected_step(method, options, rewards, baseline), rtol=0, atol=1e-14)


def test_without_advantage_there_is_no_gradient_apart_from_that_of_the_entropy():
    rows = EVERY[torch.randint(9, (6,))]
    for weight in (0.0, 0.5):
        method = decisive(entropy_weight=weight)
        expected = gradient(-weight * method.controller.replay(rows).entropies().sum(1).mean(), method)
        actual = gradient(method.loss(method.controller.replay(rows), torch.zeros(6)), method)
        assert torch.equal(expected, actual)
        assert bool(expected.any()) == (weight > 0)


def test_the_sampled_entropy_of_the_release_is_a_part_of_the_reward_only():
    """-p log p of the decisions taken, without a gradient of its own."""
    options, method = Enas(entropy="sampled", entropy_weight=0.5), decisive(entropy="sampled", entropy_weight=0.5)
    rollout = method.controller.replay(EVERY)
    p_NC = rollout.log_p_of_decisions().exp()
    torch.testing.assert_close(-0.5 * (p_NC * p_NC.log()).sum(1).detach(), bonus(rollout, options))
    assert not gradient(method.loss(rollout, torch.zeros(9)), method).any()
    full = bonus(rollout, Enas(entropy_weight=0.5))
    torch.testing.assert_close(0.5 * rollout.entropies().sum(1).detach(), full)


def test_a_bandit_s_best_sequence_becomes_nearly_certain():
    """The reward is 1 for one of nine sequences; 150 steps of ten draws."""
    method = Enas(**PLAIN, learning_rate=0.02).build(SPACE)
    torch.manual_seed(2)
    assert method.controller.replay(torch.tensor([[2, 1]])).log_p_of_decisions().sum().exp() < 0.2
    for _ in range(150):
        with torch.no_grad():
            drawn = method.controller.sample(10).decisions_NC
        method.learn(drawn, [float(row == [2, 1]) for row in drawn.tolist()])
    assert method.controller.replay(torch.tensor([[2, 1]])).log_p_of_decisions().sum().exp() > 0.9
    assert BEST == method.derive()[0]


def test_the_baseline_follows_reward_and_bonus_and_is_a_constant_to_the_step():
    method = decisive(baseline_decay=0.75, entropy_weight=0.1, learning_rate=0.0)
    rewards, rows = [1.0, 0.0, 0.5], EVERY[[1, 5, 8]]
    worth = (torch.tensor(rewards) + bonus(method.controller.replay(rows), Enas(entropy_weight=0.1))).tolist()
    method.learn(rows, rewards)
    assert math.isclose(0.25 * (0.75**2 * worth[0] + 0.75 * worth[1] + worth[2]), method.baseline.item(), rel_tol=1e-9)


def test_a_step_descends_the_loss_of_the_old_baseline():
    """Adam without momentum and with a large epsilon: -rate * g / (|g| + eps)."""
    method = decisive(entropy_weight=0.2, learning_rate=0.01, epsilon=1e-3)
    method.baseline.fill_(0.4)
    before = nn.utils.parameters_to_vector(method.controller.parameters()).detach()
    rollout = method.controller.replay(EVERY[:3])
    advantages = torch.tensor([1.0, 0.0, 0.2]) + bonus(rollout, Enas(entropy_weight=0.2)) - 0.4
    slope = gradient(method.loss(rollout, advantages), method)
    method.learn(EVERY[:3], [1.0, 0.0, 0.2])
    after = nn.utils.parameters_to_vector(method.controller.parameters()).detach()
    torch.testing.assert_close(-0.01 * slope / (slope.abs() + 1e-3), after - before, rtol=1e-6, atol=1e-9)


def test_what_is_derived_is_distinct_and_most_probable_first():
    method = decisive(derived=200)
    found = method.derive()
    assert 4 <= len(found) == len(set(found)) <= 9
    rows = torch.tensor([["xyz".index(one["a"]), "xyz".index(one["b"])] for one in found])
    log_p = method.controller.replay(rows).log_p_of_decisions().sum(1).tolist()
    assert sorted(log_p, reverse=True) == log_p
    assert 1 == len(decisive(derived=1).derive())
