"""Modes and weights are put back as they were."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spark_nas.evaluation.restoring import assign, evaluating, restored


def modes(network: nn.Module) -> list[bool]:
    return [module.training for module in network.modules()]


@pytest.mark.parametrize("fails", [False, True])
def test_each_module_is_in_the_mode_in_which_it_was_also_after_a_failure(fails: bool):
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Linear(1, 1)))
    network[1].eval()
    before = modes(network)
    try:
        with evaluating(network):
            assert {False} == set(modes(network))
            assert not fails
    except AssertionError:
        assert fails
    assert [True, True, False, False, False] == before == modes(network)


def test_weights_are_put_back_bit_for_bit_and_in_place():
    weights = [nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(2, 3))]
    before, places = [weight.detach().clone() for weight in weights], [weight.data_ptr() for weight in weights]
    with restored(weights) as kept:
        assert all(torch.equal(old, copy) for old, copy in zip(before, kept, strict=True))
        assign(weights, [torch.zeros(5), torch.ones(2, 3)])
        assert [0.0, 6.0] == [weight.sum().item() for weight in weights]
    assert all(torch.equal(old, weight) for old, weight in zip(before, weights, strict=True))
    assert places == [weight.data_ptr() for weight in weights]


def test_a_value_for_each_tensor():
    with pytest.raises(ValueError, match="shorter"):
        assign([torch.zeros(1), torch.zeros(1)], [torch.ones(1)])
