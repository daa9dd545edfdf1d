"""Laws of partial channels, the search form of PC-DARTS."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.mixed import PartialMixedOperation, Probe, Zero, partial_mixed, shuffled
from spark_nas.spaces.core import SUPERNET, Architecture, Choice
from spark_nas.spaces.darts import Darts

CHOICE = Choice("edge", ("twice", "none"))
OPTIONS = Darts(layers=3, channels=8, partial_channels=4)
X = torch.arange(8.0).reshape(1, 8, 1, 1)


class Twice(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def edge(architecture: Architecture = SUPERNET, stride: int = 1):
    return partial_mixed(
        CHOICE, architecture, lambda name: Twice() if name == "twice" else Zero(stride), partial=4, stride=stride
    )


def channels(y: torch.Tensor) -> list[float]:
    return y.flatten().tolist()


def test_the_first_channels_are_processed_the_others_pass_and_all_are_shuffled():
    # Processed 0, 1 become 0, 2; then groups (0, 2), (2, 3), (4, 5), (6, 7) are interleaved.
    assert channels(edge()(X, {"edge": {"twice": 1.0}})) == [0, 2, 4, 6, 2, 3, 5, 7]


def test_a_common_factor_in_the_weights_scales_the_whole_edge():
    gates = {"twice": torch.tensor(0.75), "none": torch.tensor(0.25)}
    whole = edge()(X, {"edge": gates})
    assert channels(whole) == [0, 2, 4, 6, 1.5, 3, 5, 7]
    beta = torch.tensor(0.5, requires_grad=True)
    scaled = edge()(X, {"edge": {option: beta * weight for option, weight in gates.items()}})
    assert torch.equal(0.5 * whole, scaled)
    scaled.sum().backward()
    assert beta.grad == whole.sum()


def test_none_silences_the_processed_channels_and_never_those_that_pass():
    expected = [0, 2, 4, 6, 0, 3, 5, 7]
    gated, decided = edge(), edge(Architecture({"edge": "none"}))
    assert channels(gated(X, {"edge": {"none": 1.0}})) == channels(decided(X)) == expected
    assert not gated.is_silent({"edge": {"none": 1.0}})
    assert not decided.is_silent(None)


def test_a_probe_counts_in_what_passes():
    probe = torch.zeros((), requires_grad=True)
    y = edge()(X, {"edge": {"twice": 1.0, "none": Probe(probe)}})
    assert channels(y) == [0, 2, 4, 6, 2, 3, 5, 7]
    y.sum().backward()
    assert probe.grad == X[:, 2:].sum()


def test_an_open_partial_edge_without_gates_is_an_error():
    with pytest.raises(ValueError, match="'edge' is open"):
        edge()(X)
    with pytest.raises(ValueError, match="'edge' is open"):
        edge().is_silent({})


def test_at_stride_two_the_largest_of_four_passes():
    x = torch.randn(2, 8, 5, 3, generator=torch.Generator().manual_seed(1))
    y = edge(stride=2)(x, {"edge": {"none": 1.0}})
    expected = torch.nn.functional.max_pool2d(torch.nn.functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 2)[:, 2:]
    unshuffled = shuffled(y, 2)
    assert y.shape == (2, 8, 3, 2)
    assert torch.equal(torch.zeros(2, 2, 3, 2), unshuffled[:, :2])
    assert torch.equal(expected, unshuffled[:, 2:])


def test_shuffling_is_undone_by_shuffling_with_the_other_factor():
    x = torch.randn(2, 12, 2, 3, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x, shuffled(shuffled(x, 4), 3))


@pytest.mark.parametrize("training", [True, False])
def test_a_child_computes_what_its_path_computes_in_the_partial_supernet(training: bool):
    supernet = build(OPTIONS, SUPERNET, {}, (3, 9, 8), 5, affine=False, seed=1)
    weights = {name: value.clone() for name, value in supernet.state_dict().items()}
    x = torch.randn(4, 3, 9, 8, generator=torch.Generator().manual_seed(2))
    for seed in (1, 2):
        architecture = OPTIONS.build().sample(Random(seed))
        child = build(OPTIONS, architecture, {}, (3, 9, 8), 5, affine=False, seed=9)
        supernet.load_state_dict(weights)
        child.load_state_dict({name: weights[name] for name in child.state_dict()})
        path = {choice: {option: 1.0} for choice, option in architecture.items()}
        assert torch.equal(supernet.train(training)(x, path), child.train(training)(x))


def test_partial_channels_belong_to_the_search_form_alone():
    architecture = OPTIONS.build().sample(Random(1))
    search, own = (build(OPTIONS, architecture, {}, (3, 8, 8), 5, affine=affine) for affine in (False, True))
    assert any(isinstance(module, PartialMixedOperation) for module in search.modules())
    assert not any(isinstance(module, PartialMixedOperation) for module in own.modules())
    plain = build(Darts(layers=3, channels=8), architecture, {}, (3, 8, 8), 5)
    assert {n: v.shape for n, v in plain.state_dict().items()} == {n: v.shape for n, v in own.state_dict().items()}


def test_the_options_of_a_partial_edge_have_a_quarter_of_the_channels():
    network = build(OPTIONS, SUPERNET, {}, (3, 8, 8), 5, affine=False)
    edges = network.cells[0].edges["0->2"].options
    assert edges["dil_conv_3x3"].operation[2].weight.shape == (2, 2, 1, 1)
