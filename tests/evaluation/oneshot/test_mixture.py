"""Rows and columns of architecture parameters, and what a mixture reports."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.darts import Darts
from spark_nas.evaluation.oneshot.mixture import Layout, over_nodes
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.evaluation.oneshot.softmax import SoftmaxOptions, SoftmaxWeights
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.oneshot.toys import VALID, learner, linear, plain_space


def test_choices_are_rows_and_their_options_columns():
    layout = Layout(plain_space(2, 3))
    assert [[False, False, True], [False, False, False]] == layout.absent().tolist()
    weights_EK = torch.tensor([[1.0, 2.0, 9.0], [3.0, 4.0, 5.0]])
    expected = {"a": {"o0": 1.0, "o1": 2.0}, "b": {"o0": 3.0, "o1": 4.0, "o2": 5.0}}
    assert expected == layout.table(weights_EK)
    assert {"a": "o1", "b": "o2"} == layout.named(torch.tensor([1, 2]))
    gates = layout.gates(weights_EK)
    assert expected == {name: {option: gate.item() for option, gate in row.items()} for name, row in gates.items()}
    assert all(gate.dim() == 0 for row in gates.values() for gate in row.values())


def test_none_can_be_left_out_of_the_columns():
    layout = Layout(NasBench201().build(), exclude_none=True)
    assert {("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")} == set(layout.rows.values())


def test_gradients_reach_the_parameters_of_present_options_only():
    weights = SoftmaxWeights(Layout(plain_space(2, 3)), SoftmaxOptions())
    gates = weights.gates(weights.leaves())
    (2 * gates["a"]["o0"] + gates["b"]["o2"]).backward()
    assert weights.alpha.grad is not None
    assert 0.0 == weights.alpha.grad[0, 2].item()
    assert 5 == int((weights.alpha.grad != 0).sum())


def test_the_probabilities_of_a_row_sum_to_1_and_agree_with_their_logarithms():
    weights = SoftmaxWeights(Layout(plain_space(2, 3)), SoftmaxOptions(init_scale=3.0))
    p_EK = weights.probabilities(weights.leaves())
    assert torch.allclose(torch.ones(2), p_EK.sum(-1))
    assert torch.allclose(p_EK, weights.log_probabilities(weights.leaves()).exp())
    assert 0.0 == p_EK[0, 2].item()


def test_the_gates_of_the_step_on_the_weights_carry_no_graph():
    method = Darts().build(plain_space(2))
    assert not any(gate.requires_grad for gate in method.gates()["a"].values())
    assert all(gate.requires_grad for gate in method.weights.gates(method.weights.leaves())["a"].values())


def test_edges_are_normalised_a_node_at_a_time_whatever_their_size():
    nodes_NE = torch.tensor([[True, False, False], [False, True, True]])
    log_E = over_nodes(torch.tensor([500.0, -3000.0, -3000.0], dtype=torch.float64), nodes_NE)
    assert pytest.approx([1.0, 0.5, 0.5]) == log_E.exp().tolist()


def test_what_is_derived_of_independent_choices_is_the_argmax():
    method = Darts().build(plain_space(3, 2))
    method.weights.alpha.data.copy_(torch.tensor([[0.0, 2.0, 1.0], [1.0, 0.5, 99.0]]))
    assert (Architecture({"a": "o1", "b": "o0"}),) == method.derive()


def test_entropies_are_in_nats_and_each_choice_s_on_request():
    method = Darts(entropy_per_choice=True, init_scale=0).build(plain_space(2, 4))
    numbers = method.diagnostics()
    assert {"entropy", "entropy/a", "entropy/b", "skip_connections"} == set(numbers)
    assert pytest.approx([math.log(2), math.log(4)]) == [numbers["entropy/a"], numbers["entropy/b"]]
    assert pytest.approx((math.log(2) + math.log(4)) / 2) == numbers["entropy"]
    assert {"entropy", "skip_connections"} == set(Darts().build(plain_space(2)).diagnostics())


def test_skip_connections_are_those_that_would_be_derived():
    method = Darts(init_scale=0).build(NasBench201().build())
    method.weights.alpha.data[:2, 1] = 1.0
    assert 2.0 == method.diagnostics()["skip_connections"]


def test_the_curvature_is_of_the_validation_loss_by_alpha_and_only_on_request():
    """At alpha = (0, log 3), p = (1/4, 3/4): of the loss p_0 the Hessian is p_0 p_1 (p_1 - p_0) [[1, -1], [-1, 1]]."""
    method = Darts(hessian=True).build(plain_space(2))
    method.weights.alpha.data.copy_(torch.tensor([[0.0, math.log(3)]]))
    student = learner(linear({"a": [1.0, 0.0]}))
    assert "hessian_eigenvalue" not in method.diagnostics()
    method.finish_epoch(student, lambda: VALID)
    assert ["valid"] == student.asked
    assert pytest.approx(2 * 3 / 16 * 0.5, rel=1e-4) == method.diagnostics()["hessian_eigenvalue"]
    Darts().build(plain_space(2)).finish_epoch(student, lambda: pytest.fail("not asked for"))


def test_the_curvature_changes_no_parameter():
    method = Darts(hessian=True).build(plain_space(2, 2))

    def objective(batch: Batch, gates: Gates) -> Tensor:
        return (gates["a"]["o0"] * gates["b"]["o1"]) ** 2

    before = method.weights.alpha.detach().clone()
    method.finish_epoch(learner(objective), lambda: VALID)
    assert torch.equal(before, method.weights.alpha)
    assert method.weights.alpha.grad is None


def test_a_space_without_choices_is_refused():
    with pytest.raises(OptionError, match="space: 'plain': has no choices"):
        Layout(plain_space())
