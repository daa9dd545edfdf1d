"""Laws of the mixed operation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spark_nas.evaluation.networks.mixed import Gates, MixedOperation, Probe, Zero, mixed, sum_of
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


def test_a_probe_gets_the_inner_product_of_the_gradient_and_the_options_output():
    supernet = mixed(Choice("edge", ("active", "idle")), SUPERNET, lambda _: nn.Conv2d(1, 1, 1))
    probe, x = torch.zeros((), requires_grad=True), X.clone().requires_grad_()
    y = supernet(x, {"edge": {"active": 1.0, "idle": Probe(probe)}})
    slope = torch.randn(y.shape, generator=torch.Generator().manual_seed(1))
    (y * slope).sum().backward()
    active, idle = supernet.options["active"], supernet.options["idle"]
    assert torch.equal(active(X), y)
    assert probe.grad.item() == pytest.approx((slope * idle(X)).sum().item(), rel=1e-6)
    assert active.weight.grad is not None
    assert [p.grad for p in idle.parameters()] == [None, None]
    assert torch.allclose(active.weight.detach() * slope, x.grad)


def test_a_probed_identity_hands_no_gradient_to_its_input():
    supernet, x = mixed(Choice("edge", ("same",)), SUPERNET, lambda _: nn.Identity()), X.clone().requires_grad_()
    probe = torch.tensor(0.5, requires_grad=True)
    supernet(x, {"edge": {"same": Probe(probe)}}).sum().backward()
    assert x.grad is None
    assert probe.grad == X.sum()


def test_an_option_is_probed_without_a_graph():
    seen = []

    class Watched(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(torch.is_grad_enabled())
            return x

    supernet = mixed(Choice("edge", ("active", "idle")), SUPERNET, lambda _: Watched())
    supernet(X, {"edge": {"active": 1.0, "idle": Probe(torch.zeros((), requires_grad=True))}})
    assert seen == [True, False]


def test_open_edges_of_which_only_none_runs_are_left_out_of_a_sum():
    edges = [mixed(CHOICE, SUPERNET, make), mixed(Choice("other", CHOICE.options), SUPERNET, make)]
    broken = torch.full_like(X, torch.nan)
    gates = {"edge": {"none": 1.0}, "other": {"twice": 1.0}}
    assert torch.equal(2 * X, sum_of(edges, [broken, X], gates))
    assert torch.equal(torch.zeros_like(X), sum_of(edges, [broken, broken], {**gates, "other": {"none": 1.0}}))


@pytest.mark.parametrize("wrap", [lambda weight: weight, Probe])
def test_the_gradient_of_none_is_zero_and_not_absent(wrap: type[Probe]):
    edges = [mixed(CHOICE, SUPERNET, make), mixed(Choice("other", CHOICE.options), SUPERNET, make)]
    weight = torch.ones((), requires_grad=True)
    sum_of(edges, [X, X], {"edge": {"none": wrap(weight)}, "other": {"twice": weight}}).sum().backward()
    assert weight.grad == 2 * X.sum()
    alone = torch.ones((), requires_grad=True)
    sum_of(edges, [X, X], {"edge": {"none": wrap(alone)}, "other": {"twice": 1.0}}).sum().backward()
    assert alone.grad == 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_none_keeps_the_layout_of_its_input(layout: torch.memory_format):
    assert Zero()(torch.ones(2, 3, 4, 4).contiguous(memory_format=layout)).is_contiguous(memory_format=layout)
