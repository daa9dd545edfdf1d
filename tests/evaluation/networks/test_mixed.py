"""Laws of the mixed operation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Zero, mixed, sum_of
from spark_nas.spaces.core import SUPERNET, Architecture, Choice


class Scale(nn.Module):
    """Multiplies, and counts how often it ran."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor, self.runs = factor, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        return x * self.factor


CHOICE = Choice("edge", ("twice", "thrice", "none"))
X = torch.arange(4.0).reshape(1, 1, 2, 2)


def make(option: str) -> nn.Module:
    return {"twice": Scale(2), "thrice": Scale(3)}.get(option) or Zero()


def test_the_output_is_the_gated_sum():
    supernet = mixed(CHOICE, SUPERNET, make)
    gates = {"edge": {"twice": 0.25, "thrice": torch.tensor(2.0), "none": 5.0}}
    assert torch.equal(X * 6.5, supernet(X, gates))


def test_an_option_without_a_gate_is_not_run():
    supernet = mixed(CHOICE, SUPERNET, make)
    supernet(X, {"edge": {"twice": 1.0}})
    assert [1, 0] == [supernet.options["twice"].runs, supernet.options["thrice"].runs]


def test_gates_get_gradients():
    gate = torch.tensor(0.5, requires_grad=True)
    mixed(CHOICE, SUPERNET, make)(X, {"edge": {"thrice": gate}}).sum().backward()
    assert gate.grad == 3 * X.sum()


def test_a_decided_choice_runs_without_gates_and_with_gates_of_others():
    decided = mixed(CHOICE, Architecture({"edge": "thrice"}), make)
    assert list(decided.options) == ["thrice"]
    assert torch.equal(3 * X, decided(X))
    assert torch.equal(3 * X, decided(X, {"other": {"twice": 1.0}}))


def test_a_gate_weighs_a_decided_choice_too():
    decided = mixed(CHOICE, Architecture({"edge": "thrice"}), make)
    assert torch.equal(1.5 * X, decided(X, {"edge": {"thrice": 0.5}}))


@pytest.mark.parametrize("gates", [None, {}, {"other": {"twice": 1.0}}, {"edge": {}}])
def test_an_open_choice_without_gates_is_an_error(gates: Gates | None):
    with pytest.raises(ValueError, match="'edge' is open"):
        mixed(CHOICE, SUPERNET, make)(X, gates)


def test_a_gate_for_an_option_that_is_not_there_is_an_error():
    with pytest.raises(ValueError, match="no option 'twice' here; there are: thrice"):
        mixed(CHOICE, Architecture({"edge": "thrice"}), make)(X, {"edge": {"twice": 1.0}})


def test_an_open_choice_of_one_option_still_needs_a_gate():
    with pytest.raises(ValueError, match="is open"):
        mixed(Choice("edge", ("twice",)), SUPERNET, make)(X)


def test_silent_edges_are_left_out_of_a_sum_unless_there_are_no_others():
    silent = mixed(CHOICE, Architecture({"edge": "none"}), make)
    loud = mixed(CHOICE, Architecture({"edge": "twice"}), make)
    broken = torch.full_like(X, torch.nan)
    assert torch.equal(2 * X, sum_of([silent, loud], [broken, X], None))
    assert torch.equal(torch.zeros_like(X), sum_of([silent, silent], [broken, broken], None))


def test_zero_has_the_shape_of_a_strided_operation():
    assert Zero(2)(torch.ones(2, 3, 5, 4)).shape == (2, 3, 3, 2)
    assert isinstance(mixed(CHOICE, SUPERNET, make), MixedOperation)
