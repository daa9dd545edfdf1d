"""Laws of both ENAS networks beyond the contract, and their operations."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch
from torch import nn
from torch.nn import functional

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.enas_operations import LinearReduce, macro_operation, micro_operation
from spark_nas.evaluation.networks.operations import DropPath
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.enas_macro import OPERATIONS as MACRO_OPERATIONS
from spark_nas.spaces.enas_macro import EnasMacro
from spark_nas.spaces.enas_micro import OPERATIONS as MICRO_OPERATIONS
from spark_nas.spaces.enas_micro import EnasMicro

MICRO = EnasMicro(layers=3, filters=2, nodes=2, dropout=0.0)
MACRO = EnasMacro(layers=6, filters=2, dropout=0.0)
SHAPE = (1, 8, 8)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def path_gates(architecture: Architecture) -> dict[str, dict[str, float]]:
    return {choice: {option: 1.0} for choice, option in architecture.items()}


def random_gates(options: EnasMicro | EnasMacro, rng: Random) -> dict[str, dict[str, float]]:
    return {c.name: {o: rng.random() for o in c.options} for c in options.build().choices}


@pytest.mark.parametrize("options", [MICRO, MACRO], ids=["micro", "macro"])
@pytest.mark.parametrize("affine", [True, False])
def test_a_training_step_moves_in_the_supernet_what_it_moves_in_the_child(options: EnasMicro | EnasMacro, affine: bool):
    for seed in (1, 2):
        supernet = build(options, SUPERNET, {}, SHAPE, 3, affine=affine, seed=1).train()
        before = {name: value.clone() for name, value in supernet.state_dict().items()}
        architecture = options.build().sample(Random(seed))
        child = build(options, architecture, {}, SHAPE, 3, affine=affine, seed=2).train()
        child.load_state_dict({name: before[name] for name in child.state_dict()})
        outputs = []
        for network, gates in ((supernet, path_gates(architecture)), (child, None)):
            optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
            outputs.append(network(noise(4, *SHAPE), gates))
            functional.cross_entropy(outputs[-1], torch.tensor([0, 1, 2, 0])).backward()
            optimiser.step()
        assert torch.equal(*outputs)
        assert [name for name, p in child.named_parameters() if p.grad is None] == []
        moved = child.state_dict()
        assert any(not torch.equal(moved[name], before[name]) for name in moved)
        for name, value in supernet.state_dict().items():
            assert torch.equal(value, moved.get(name, before[name])), name


@pytest.mark.parametrize(
    ("options", "decided"), [(MICRO, "operation"), (MICRO, "input"), (MACRO, "operation"), (MACRO, "skip")]
)
def test_whatever_part_is_decided_the_rest_is_gated_as_in_the_supernet(options: EnasMicro | EnasMacro, decided: str):
    rng = Random(5)
    whole = options.build().sample(rng)
    half = Architecture({name: option for name, option in whole.items() if decided in name})
    supernet = build(options, SUPERNET, {}, SHAPE, 3, seed=1).eval()
    network = build(options, half, {}, SHAPE, 3, seed=2).eval()
    weights = supernet.state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    gates = random_gates(options, rng)
    expected = supernet(noise(3, *SHAPE), {**gates, **path_gates(half)})
    actual = network(noise(3, *SHAPE), {name: given for name, given in gates.items() if name not in half})
    assert torch.allclose(expected, actual, atol=1e-6)


@pytest.mark.parametrize(("options", "first"), [(MICRO, "normal/node2/left/input"), (MACRO, "layer1/operation")])
def test_an_open_choice_without_gates_is_named(options: EnasMicro | EnasMacro, first: str):
    network = build(options, SUPERNET, {}, SHAPE, 3)
    with pytest.raises(ValueError, match=f"choice '{first}' is open"):
        network(noise(2, *SHAPE))


@pytest.mark.parametrize("options", [MICRO, MACRO], ids=["micro", "macro"])
def test_dropout_acts_on_the_features_while_training(options: EnasMicro | EnasMacro):
    architecture = options.build().sample(Random(1))
    network = build(options, architecture, {"dropout": 0.999}, SHAPE, 3, seed=1)
    torch.manual_seed(1)
    assert torch.equal(torch.zeros(2, 3), network.train()(noise(2, *SHAPE)))
    assert network.eval()(noise(2, *SHAPE)).abs().min() > 0


class TestOperations:
    """Those that the ENAS networks bring."""

    @pytest.mark.parametrize("name", MICRO_OPERATIONS)
    def test_micro_operations_keep_the_shape_and_only_the_identity_is_never_dropped(self, name: str):
        operation = micro_operation(name, 4, affine=False)
        assert operation(noise(2, 4, 7, 6)).shape == (2, 4, 7, 6)
        assert isinstance(operation, DropPath) == (name != "identity")

    @pytest.mark.parametrize(("name", "affine"), list(product(MACRO_OPERATIONS, (True, False))))
    def test_macro_operations_keep_the_shape_and_give_nothing_negative(self, name: str, affine: bool):
        operation = macro_operation(name, 4, affine=affine)
        y = operation(noise(2, 4, 7, 6))
        assert y.shape == (2, 4, 7, 6)
        assert y.min() >= 0
        assert {m.affine for m in operation.modules() if isinstance(m, nn.BatchNorm2d)} == {affine}

    @pytest.mark.parametrize(("name", "weights"), [("conv_5x5", 16 + 400), ("sep_conv_5x5", 16 + 100 + 16)])
    def test_a_separable_convolution_is_depthwise_and_pointwise_once(self, name: str, weights: int):
        operation = macro_operation(name, 4, affine=False)
        assert sum(p.numel() for p in operation.parameters()) == weights

    def test_the_average_is_of_the_pixels_inside(self):
        ones = torch.ones(1, 1, 4, 4)
        assert torch.equal(ones, micro_operation("avg_pool_3x3", 1, affine=True)(ones))

    def test_a_linear_reduction_reads_negative_values_too(self):
        layer = LinearReduce(1, 2).eval()
        x = noise(1, 1, 8, 8)
        assert torch.allclose(layer(-x), -layer(x), atol=1e-6)
        assert layer(x).abs().min() > 0
