"""Paths drawn by probabilities, and parameters that learn only where something was drawn."""

from __future__ import annotations

import math
from collections import Counter
from itertools import combinations

import pytest
import torch
from scipy.stats import chisquare  # type: ignore[import-untyped]
from torch import nn, optim

from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.evaluation.oneshot.paths import PathWeights, draw, draw_pairs, drawn_path, gumbel_like
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions
from tests.strategies import plain_space

P = [0.1, 0.2, 0.3, 0.4]
LOG_P = torch.tensor(P).log()


def test_the_noise_is_of_the_gumbel_distribution():
    torch.manual_seed(1)
    noise = gumbel_like(torch.zeros(100_000, dtype=torch.float64))
    assert pytest.approx(0.57722, abs=0.02) == noise.mean().item()
    assert pytest.approx(torch.pi**2 / 6, abs=0.05) == noise.var().item()


def test_a_path_drawn_by_weights_has_one_option_a_choice():
    weights = PathWeights(Layout(plain_space(2, 3)), SoftmaxOptions())
    weights.alphas[0].data.copy_(torch.tensor([0.0, 1000.0, 0.0]))
    weights.alphas[1].data.copy_(torch.tensor([1000.0, 0.0, 0.0]))
    assert {"a": {"o1": 1.0}, "b": {"o0": 1.0}} == drawn_path(weights)


def test_paths_are_drawn_by_their_probabilities():
    torch.manual_seed(1)
    drawn = draw(LOG_P.expand(10_000, 4)).bincount(minlength=4)
    assert chisquare(drawn.tolist(), [10_000 * p for p in P]).pvalue > 0.001


def test_pairs_are_drawn_without_replacement():
    """P{i, j} = p_i p_j / (1 - p_i) + p_j p_i / (1 - p_j)."""
    torch.manual_seed(1)
    pairs = draw_pairs(LOG_P.expand(10_000, 4))
    assert torch.equal(torch.full((10_000,), 2), pairs.sum(-1))
    seen = Counter(tuple(row.nonzero().flatten().tolist()) for row in pairs)
    expected = {(i, j): P[i] * P[j] * (1 / (1 - P[i]) + 1 / (1 - P[j])) for i, j in combinations(range(4), 2)}
    observed = [seen[pair] for pair in expected]
    assert chisquare(observed, [10_000 * probability for probability in expected.values()]).pvalue > 0.001


def test_a_choice_without_an_alternative_keeps_its_option():
    log_p_EK = torch.tensor([[0.0, -math.inf, -math.inf], [math.log(0.5), math.log(0.5), -math.inf]])
    assert [[True, False, False], [True, True, False]] == draw_pairs(log_p_EK).tolist()
    assert [0] == draw(log_p_EK)[:1].tolist()
    assert [[True]] == draw_pairs(torch.zeros(1, 1)).tolist()


def test_a_choice_that_does_not_learn_keeps_its_moments():
    """Each row is as under an Adam of its own that has seen the row's gradients alone."""
    options = SoftmaxOptions(learning_rate=0.1, betas=(0.5, 0.9), weight_decay=0.01, init_scale=1.0)
    torch.manual_seed(1)
    weights = PathWeights(Layout(plain_space(3, 3)), options)
    twins = [nn.Parameter(row.clone()) for row in weights.leaves()[0].detach()]
    adams = [optim.Adam([twin], lr=0.1, betas=(0.5, 0.9), weight_decay=0.01) for twin in twins]
    for learns in ([True, True], [True, False], [False, False], [False, True], None, [True, False]):
        slopes = torch.randn(2, 3)
        weights.learn((slopes,), learns)
        for row, (twin, adam) in enumerate(zip(twins, adams, strict=True)):
            if learns is None or learns[row]:
                twin.grad = slopes[row].clone()
                adam.step()
    assert torch.equal(torch.stack([twin.detach() for twin in twins]), weights.leaves()[0].detach())
    assert all(alpha.grad is None for alpha in weights.alphas)


def test_a_common_offset_keeps_the_share_of_a_pair():
    torch.manual_seed(1)
    weights = PathWeights(Layout(plain_space(4)), SoftmaxOptions(init_scale=1.0)).double()
    before_EK = weights.leaves()[0].detach()
    with torch.no_grad():
        weights.alphas[0][1:3] += torch.tensor([0.7, -0.2], dtype=torch.float64)
    weights.keep_shares(before_EK, torch.tensor([[False, True, True, False]]))
    p, q = before_EK.softmax(-1)[0], weights.probabilities(weights.leaves()).detach()[0]
    assert torch.allclose(p[[0, 3]], q[[0, 3]], atol=1e-15)
    assert math.isclose(math.exp(0.9), (q[1] / q[2] / (p[1] / p[2])).item())
