"""SNAS: concrete samples, their density, both estimates of the cost's gradient (Xie et al. 2019, section 2)."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from scipy.integrate import quad  # type: ignore[import-untyped]
from scipy.stats import chisquare  # type: ignore[import-untyped]
from torch import Tensor
from torch.distributions import RelaxedOneHotCategorical

from spark_nas.evaluation.oneshot.snas import expected_cost, log_concrete, log_density

A = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def samples(log_a: Tensor, temperature: float, n: int, seed: int = 1) -> Tensor:
    """[n, K], of the same noise at every call."""
    torch.manual_seed(seed)
    return log_concrete(log_a.expand(n, -1), temperature).exp()


@pytest.mark.parametrize("temperature", [0.03, 0.5, 1.0, 3.0])
def test_the_largest_of_a_sample_is_each_option_with_its_probability(temperature: float):
    n = 20_000
    winners = samples(A.log() + 5.0, temperature, n).argmax(-1).bincount(minlength=3)  # whatever the scale of a
    assert chisquare(winners.tolist(), (n * A).tolist()).pvalue > 0.001


def test_samples_come_to_corners_of_the_simplex_as_the_temperature_falls():
    assert samples(A.log(), 1e-6, 1000).amax(-1).min() > 1 - 1e-9
    assert samples(A.log(), 1.0, 1000).amax(-1).mean() < 0.9
    assert torch.allclose(torch.ones(1000, dtype=torch.float64), samples(A.log(), 0.03, 1000).sum(-1))
    uniform = samples(A.log(), 1e6, 1000)
    assert torch.allclose(torch.full_like(uniform, 1 / 3), uniform, atol=1e-4)


def test_low_temperatures_do_not_underflow_in_single_precision():
    torch.manual_seed(1)
    log_a_EK = A.float().log().expand(100, 3).clone().requires_grad_()
    log_z_EK = log_concrete(log_a_EK, 1e-4)
    assert log_z_EK.isfinite().all()
    log_density(log_z_EK.detach(), log_a_EK, 1e-4).sum().backward()
    assert log_a_EK.grad is not None
    assert log_a_EK.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_the_density_integrates_to_one(temperature: float):
    """The midpoint rule on 400 x 400 points of the simplex of three options."""
    n = 400
    grid = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    first, second = torch.meshgrid(grid, grid, indexing="ij")
    inside = first + second < 1
    z = torch.stack([first, second, 1 - first - second], -1)[inside]
    # Cells that the diagonal halves are left out: 1 / n of the simplex.
    mass = log_density(z.log(), A.log(), temperature).exp().sum() / n**2
    assert pytest.approx(1.0, abs=0.01) == mass.item()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_the_density_is_that_of_torchs_concrete_distribution(temperature: float):
    z = samples(A.log(), temperature, 50)
    expected = RelaxedOneHotCategorical(torch.tensor(temperature, dtype=torch.float64), probs=A).log_prob(z)
    assert torch.allclose(expected, log_density(z.log(), A.log() + 2.0, temperature), rtol=1e-9)


def test_absent_columns_are_no_options():
    z = samples(A.log(), 0.7, 5)
    nothing = torch.full((5, 1), -math.inf, dtype=torch.float64)
    log_a = A.log().expand(5, 3).clone().requires_grad_()
    wide = torch.cat([log_a, nothing], -1)
    torch.manual_seed(1)
    assert torch.equal(torch.zeros(5, dtype=torch.float64), log_concrete(wide, 0.7).exp()[:, 3])
    density = log_density(torch.cat([z.log(), nothing], -1), wide, 0.7)
    assert torch.allclose(log_density(z.log(), A.log(), 0.7), density)
    [slope] = torch.autograd.grad(density.sum(), log_a)
    assert slope.isfinite().all()


@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_the_gradient_through_samples_is_that_of_their_mean(temperature: float):
    """Against finite differences of the Monte Carlo mean of a curved loss, with common random numbers."""

    def mean_loss(log_a: Tensor) -> Tensor:
        z = samples(log_a, temperature, 2000)
        return (torch.sin(3 * z[:, 0]) + z[:, 1] * z[:, 2] ** 2).mean()

    log_a = A.log().requires_grad_()
    [slope] = torch.autograd.grad(mean_loss(log_a), log_a)
    step = 1e-5
    for k in range(3):
        shift = torch.zeros(3, dtype=torch.float64)
        shift[k] = step
        difference = (mean_loss(log_a.detach() + shift) - mean_loss(log_a.detach() - shift)) / (2 * step)
        assert pytest.approx(difference.item(), rel=1e-5, abs=1e-7) == slope[k].item()
    assert slope.abs().max() > 1e-2


def over_the_simplex(function: Callable[[Tensor, Tensor], Tensor], log_a: Tensor, temperature: float) -> float:
    """E[function(log z, log density)] of two options, by adaptive quadrature in the log-odds."""

    def integrand(odds: float) -> float:
        log_z = torch.nn.functional.logsigmoid(torch.tensor([odds, -odds], dtype=torch.float64))
        density = log_density(log_z, log_a, temperature)
        return (density.exp() * log_z.sum().exp() * function(log_z, density)).item()  # dz = z (1 - z) dodds

    left, right = (quad(integrand, *bounds)[0] for bounds in ((-60, 0), (0, 60)))
    return float(left + right)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
@pytest.mark.parametrize("gradient", ["reparameterisation", "policy"])
def test_the_mean_of_a_costs_gradient_is_the_gradient_of_its_mean(gradient: str, temperature: float):
    """Policy: of p * costs, exactly. Reparameterisation: of E[Z] * costs, by differences of the exact expectation."""
    log_a = torch.tensor([[0.3, 0.7]], dtype=torch.float64).log()
    costs = torch.tensor([[2.0, 5.0]], dtype=torch.float64)
    exact_temperature = torch.tensor(temperature, dtype=torch.float64)

    if gradient == "policy":
        p = log_a.softmax(-1)
        expected = (p * (costs - (p * costs).sum()))[0, 0].item()

        def estimate(log_z: Tensor, density: Tensor) -> Tensor:
            leaf = log_a.clone().requires_grad_()
            value = expected_cost(log_z[None], leaf, exact_temperature, costs, "policy")
            return torch.autograd.grad(value, leaf)[0][0, 0]

        actual = over_the_simplex(estimate, log_a[0], temperature)
        assert pytest.approx(expected, rel=1e-5) == actual
        return

    def mean_cost(first: float) -> float:
        moved = torch.stack([log_a[0, 0] + first, log_a[0, 1]])
        return over_the_simplex(lambda log_z, _: (log_z.exp() * costs[0]).sum(), moved, temperature)

    expected = (mean_cost(1e-3) - mean_cost(-1e-3)) / 2e-3
    n = 100_000
    leaf = log_a.clone().requires_grad_()
    torch.manual_seed(1)
    log_z = log_concrete(leaf.expand(n, 2), exact_temperature)
    value = expected_cost(log_z, leaf, exact_temperature, costs, "reparameterisation")
    spread = (costs[0, 1] - costs[0, 0]) * 0.25 / temperature  # dZ/dlog a = Z (1 - Z) / temperature
    assert abs(expected - torch.autograd.grad(value, leaf)[0][0, 0].item() / n) < 4 * spread / math.sqrt(n)


def test_the_score_of_networks_that_decide_for_an_option_is_its_one_hot_less_p():
    """So the policy gradient is REINFORCE's on the decided networks, whatever the temperature."""
    n = 40_000
    leaf = A.log().expand(n, 3).clone().requires_grad_()
    torch.manual_seed(1)
    log_z = log_concrete(leaf, 0.05).detach()
    [score] = torch.autograd.grad(log_density(log_z, leaf, 0.05).sum(), leaf)
    for option in range(3):
        decided = score[log_z.argmax(-1) == option]
        expected = torch.eye(3, dtype=torch.float64)[option] - A
        assert (decided.mean(0) - expected).abs().max() < 4 * decided.std(0).max() / math.sqrt(len(decided))
