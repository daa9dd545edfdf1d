"""Entropy, skip connections and curvature against what is known in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from spark_nas.evaluation.oneshot.diagnostics import dominant_eigenvalue, entropies, skip_connections
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices, SearchSpace
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.enas_rnn import EnasRnn


def quadratic(matrix: Tensor) -> tuple[Tensor, list[Tensor]]:
    """x' M x / 2 at a random point whose coordinates are two leaves."""
    n = len(matrix)
    leaves = [torch.randn(1, dtype=torch.float64), torch.randn(n - 1, dtype=torch.float64)]
    for leaf in leaves:
        leaf.requires_grad_()
    x = torch.cat(leaves)
    return x @ matrix @ x / 2, leaves


@given(seed=st.integers(0, 2**31), sign=st.sampled_from([1.0, -1.0]))
def test_the_eigenvalue_of_a_quadratic_form_is_found_with_its_sign(seed: int, sign: float):
    torch.manual_seed(seed)
    basis, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    matrix = basis @ torch.diag(torch.tensor([sign * 4.0, 1.0, -1.5, 0.5, 0.0], dtype=torch.float64)) @ basis.T
    assert pytest.approx(sign * 4.0, rel=1e-3) == dominant_eigenvalue(*quadratic(matrix), tolerance=1e-6)


def test_the_iterations_are_bounded():
    """Eigenvalues of one magnitude and both signs: it turns in a circle, within the spectrum."""
    torch.manual_seed(1)
    matrix = torch.diag(torch.tensor([1.0, -1.0], dtype=torch.float64))
    assert -1.0 <= dominant_eigenvalue(*quadratic(matrix), iterations=7, tolerance=0.0) <= 1.0


def test_a_loss_without_curvature_has_eigenvalue_0():
    x = torch.randn(3, requires_grad=True)
    assert 0.0 == dominant_eigenvalue((2 * x).sum(), [x])
    assert 0.0 == dominant_eigenvalue((x.relu() * 2).sum(), [x])
    assert 0.0 == dominant_eigenvalue((x**2).sum() * 0, [x])


def test_a_leaf_that_the_loss_does_not_see_counts_nothing():
    x, unseen = torch.tensor([1.0], requires_grad=True), torch.tensor([2.0], requires_grad=True)
    assert pytest.approx(6.0) == dominant_eigenvalue((x**3).sum(), [x, unseen])


def test_the_iteration_starts_at_random_from_the_global_generator():
    matrix = torch.diag(torch.arange(6, dtype=torch.float64))
    loss, leaves = quadratic(matrix)

    def found(seed: int) -> float:
        torch.manual_seed(seed)
        return dominant_eigenvalue(loss, leaves, iterations=1)

    assert found(1) == found(1) != found(2)


def test_entropy_is_0_of_a_decision_and_log_k_of_none():
    p_EK = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25] * 4, [0.5, 0.5, 0.0, 0.0]])
    assert pytest.approx([0.0, math.log(4), math.log(2)]) == entropies(p_EK)


def test_skips_are_counted_in_every_space_s_words():
    taken = {"a": "skip_connect", "b": "none", "c": "identity", "d": "zero"}
    space = IndependentChoices("words", tuple(Choice(name, (option, "other")) for name, option in taken.items()))
    assert 3 == skip_connections(space, Architecture(taken))


@pytest.mark.parametrize("space", [DartsRnn(nodes=3).build(), EnasRnn(nodes=3).build()])
def test_an_activation_is_no_skip_connection(space: SearchSpace):
    identities = {choice.name: "identity" for choice in space.choices if "identity" in choice.options}
    assert identities
    assert 0 == skip_connections(space, Architecture(identities))
