"""Exponentiated gradient: GAEA's vectors and the laws of the simplex (Li et al. 2021, section 3)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.evaluation.oneshot.simplex import SimplexOptions, SimplexWeights, exponentiated
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.oneshot.toys import plain_space

GRADIENTS = st.lists(st.floats(-50, 50), min_size=4, max_size=4)


def row(*values: float) -> Tensor:
    return torch.tensor([values], dtype=torch.float64)


def weights(*sizes: int, **options: float) -> SimplexWeights:
    return SimplexWeights(Layout(plain_space(*sizes)), SimplexOptions(**options)).double()


def theta(found: SimplexWeights) -> Tensor:
    return found.log_theta.exp()


def test_the_published_step():
    stepped = exponentiated(row(0.5, 0.3, 0.2).log(), row(1, 0, -1), 0.1).exp()
    assert pytest.approx([0.464757, 0.308181, 0.227062], abs=5e-7) == stepped[0].tolist()


def test_a_constant_gradient_from_uniform():
    found = weights(5)
    for _ in range(50):
        found.learn([row(0, 1, 1, 1, 1)])
    assert pytest.approx(math.exp(5) / (math.exp(5) + 4), abs=1e-12) == theta(found)[0, 0].item()
    assert pytest.approx(0.973756, abs=5e-7) == theta(found)[0, 0].item()


@given(gradient=GRADIENTS, constant=st.floats(-1e3, 1e3))
def test_a_constant_added_to_a_row_of_the_gradient_changes_nothing(gradient: list[float], constant: float):
    start = row(0.1, 0.2, 0.3, 0.4).log()
    plain = exponentiated(start, row(*gradient), 0.1)
    assert torch.allclose(plain, exponentiated(start, row(*gradient) + constant, 0.1), atol=1e-9)


@given(gradients=st.lists(GRADIENTS, min_size=1, max_size=8))
def test_it_is_mirror_descent_in_the_parameters_of_a_softmax(gradients: list[list[float]]):
    log_theta = row(0.1, 0.2, 0.3, 0.4).log()
    logits = log_theta - 0.1 * sum(row(*gradient) for gradient in gradients)
    for gradient in gradients:
        log_theta = exponentiated(log_theta, row(*gradient), 0.1)
    assert torch.allclose(logits.softmax(-1), log_theta.exp(), atol=1e-12)


@pytest.mark.parametrize("clamp", [0.0, 1e-5])
def test_a_hundred_thousand_random_steps_stay_on_the_simplex(clamp: float):
    """A thousand rows, a hundred steps each, with gradients of up to 1e37, in float32 as in a search."""
    found = SimplexWeights(Layout(plain_space(*[5] * 1000)), SimplexOptions(clamp=clamp))
    generator = torch.Generator().manual_seed(1)
    for _ in range(100):
        scale = 10 ** (40 * torch.rand(1000, 1, generator=generator) - 3)
        found.learn([torch.randn(1000, 5, generator=generator) * scale.clamp_max(1e37)])
        theta_EK = found.leaves()[0].detach()
        assert theta_EK.isfinite().all()
        assert (theta_EK >= 0.99 * clamp).all()
        assert torch.allclose(torch.ones(1000), theta_EK.sum(-1), atol=1e-5)


def test_without_a_clamp_an_option_of_weight_0_stays_at_0():
    found = weights(3, clamp=0, entropic_weight=0.1)
    found.log_theta.copy_(row(0.0, 0.5, 0.5).log())
    for _ in range(20):
        found.learn([row(-100, 1, -1)])
    assert 0.0 == theta(found)[0, 0].item()
    assert pytest.approx(1.0) == theta(found).sum().item()


def test_with_a_clamp_no_option_is_lost():
    found = weights(3, learning_rate=1)
    found.learn([row(0, 0, 1e6)])
    assert pytest.approx([(0.5) / 1.00001, 0.5 / 1.00001, 1e-5 / 1.00001], rel=1e-9) == theta(found)[0].tolist()


def test_clamped_last_the_sum_may_exceed_1_by_what_was_added():
    found = weights(3, learning_rate=1, normalise_last=False)
    found.learn([row(0, 0, 1e6)])
    assert pytest.approx([0.5, 0.5, 1e-5], rel=1e-9) == theta(found)[0].tolist()


def test_the_regulariser_is_the_entropy_relative_to_uniform():
    """Against autograd of lambda * sum theta log(K theta)."""
    start, strength = row(0.5, 0.3, 0.2), 0.4
    found = weights(3, entropic_weight=strength, learning_rate=0.7)
    found.log_theta.copy_(start.log())
    found.learn([row(1, 0, -1)])
    leaf = start.clone().requires_grad_()
    (strength * (leaf * (3 * leaf).log()).sum()).backward()
    assert leaf.grad is not None
    expected = exponentiated(start.log(), row(1, 0, -1) + leaf.grad, 0.7).exp()
    assert torch.allclose(expected, theta(found), atol=1e-12)


def test_the_regulariser_draws_towards_uniform():
    found = weights(3, entropic_weight=0.4)
    found.log_theta.copy_(row(0.5, 0.3, 0.2).log())
    for _ in range(300):
        found.learn([row(0, 0, 0)])
    assert pytest.approx([1 / 3] * 3, abs=1e-4) == theta(found)[0].tolist()


def test_rows_of_fewer_options_have_nothing_at_the_columns_they_lack():
    found = weights(2, 4, entropic_weight=0.1)
    assert pytest.approx([0.5, 0.5, 0.0, 0.0]) == theta(found)[0].tolist()
    assert pytest.approx([0.25] * 4) == theta(found)[1].tolist()
    found.learn([torch.ones(2, 4, dtype=torch.float64) * row(1, 2, 3, 4)])
    assert [0.0, 0.0] == theta(found)[0, 2:].tolist()
    assert torch.allclose(torch.ones(2, dtype=torch.float64), theta(found).sum(-1))


def test_the_logarithm_gives_a_weight_of_0_no_gradient():
    found = weights(2, 3)
    [leaf] = found.leaves()
    log_EK = found.log_probabilities([leaf])
    assert -math.inf == log_EK[0, 2].item()
    log_EK[~found.absent_EK].sum().backward()
    assert torch.allclose(torch.tensor([[2, 2, 0], [3, 3, 3]], dtype=torch.float64), leaf.grad)


def test_edges_learn_by_exponentiated_gradient_over_each_node():
    layout = Layout(NasBench201().build())
    found = SimplexWeights(layout, SimplexOptions(), edge_learning_rate=0.5).double()
    _, beta = found.leaves()
    # Edges 0->1 | 0->2, 1->2 | 0->3, 1->3, 2->3.
    assert pytest.approx([1, 1 / 2, 1 / 2, 1 / 3, 1 / 3, 1 / 3]) == beta.tolist()
    gradient = torch.tensor([5.0, 1, 0, 1, 0, -1], dtype=torch.float64)
    found.learn([torch.zeros(6, 5, dtype=torch.float64), gradient])
    moved = (-0.5 * gradient).exp()
    expected = [1.0, *(moved[1:3] / moved[1:3].sum()).tolist(), *(moved[3:] / moved[3:].sum()).tolist()]
    assert pytest.approx(expected) == found.leaves()[1].tolist()
    assert torch.allclose(torch.full((6, 5), 0.2, dtype=torch.float64), theta(found))


@pytest.mark.parametrize("wrong", [{"clamp": 0.5}, {"clamp": -1e-9}, {"learning_rate": -0.1}, {"entropic_weight": -1}])
def test_an_option_out_of_range_is_refused_by_name(wrong: dict[str, float]):
    with pytest.raises(OptionError) as caught:
        SimplexOptions(**wrong)
    assert list(wrong) == [caught.value.key]
