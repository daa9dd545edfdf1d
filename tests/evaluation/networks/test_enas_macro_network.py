"""The ENAS macro network: what skips add, and which reductions a child has."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.enas_macro import EnasMacroNetwork, Layer
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.enas_macro import EnasMacro, from_arc

MACRO = EnasMacro(layers=6, filters=2, dropout=0.0)
SHAPE = (1, 8, 8)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestMacro:
    """Skips and reductions."""

    def test_skips_are_added_to_the_operation_and_normalised(self):
        architecture = Architecture(
            {"layer4/operation": "conv_3x3", "layer4/skip0": "skip", "layer4/skip1": "none", "layer4/skip2": "skip"}
        )
        layer = Layer(MACRO, architecture, 4, 2, affine=True).eval()
        states = [noise(2, 2, 6, 6, seed=seed) for seed in range(4)]
        asked: list[int] = []
        operation = layer.get_submodule("operation.options.conv_3x3")
        expected = layer.norm(operation(states[3]) + states[0] + states[2])
        actual = layer(lambda state: asked.append(state) or states[state])
        assert torch.allclose(expected, actual, atol=1e-6)
        assert asked == [3, 0, 2]

    def test_a_gate_scales_a_skip_and_learns_and_one_of_none_learns_nothing(self):
        layer = Layer(MACRO, SUPERNET, 3, 2, affine=False).eval()
        states = [noise(2, 2, 6, 6, seed=seed) for seed in range(3)]
        skip, none = (torch.tensor(value, requires_grad=True) for value in (0.5, 0.7))
        asked: list[int] = []
        gates = {
            "layer3/operation": {"max_pool_3x3": 1.0},
            "layer3/skip0": {"none": none},
            "layer3/skip1": {"skip": skip, "none": 0.5},
        }
        y = layer(lambda state: asked.append(state) or states[state], gates)
        operation = layer.get_submodule("operation.options.max_pool_3x3")
        assert torch.allclose(layer.norm(operation(states[2]) + 0.5 * states[1]), y, atol=1e-6)
        assert asked == [2, 1]
        y.square().sum().backward()
        assert none.grad == 0
        assert skip.grad is not None
        assert skip.grad != 0

    def test_the_first_layer_has_nothing_to_add_and_the_second_is_normalised_without_skips(self):
        first, second = (Layer(MACRO, SUPERNET, number, 2, affine=True) for number in (1, 2))
        assert isinstance(first.norm, nn.Identity)
        assert isinstance(second.norm, nn.BatchNorm2d)

    def test_every_state_that_may_still_be_read_has_a_reduction_of_its_own(self):
        supernet = build(MACRO, SUPERNET, {}, SHAPE, 2)
        assert isinstance(supernet, EnasMacroNetwork)
        # Layers 5 and 6 read states up to 4; after layer 4 comes the second reduction.
        assert sorted(supernet.reductions) == sorted([f"1/{s}" for s in range(3)] + [f"2/{s}" for s in range(5)])

    @pytest.mark.parametrize(
        ("layer6", "expected"),
        [
            ("0 0 0 0 0 0", ["1/2", "2/4"]),
            ("0 1 0 0 0 0", ["1/0", "1/2", "2/0", "2/4"]),
            ("0 0 0 0 1 0", ["1/2", "2/3", "2/4"]),
            ("0 0 0 0 0 1", ["1/2", "2/4"]),
        ],
    )
    def test_a_child_has_the_reductions_that_it_reads(self, layer6: str, expected: list[str]):
        child = build(MACRO, from_arc(f"0  0 0  0 0 0  0 0 0 0  0 0 0 0 0  {layer6}"), {}, SHAPE, 2)
        assert isinstance(child, EnasMacroNetwork)
        assert expected == sorted(child.reductions)
        assert child(noise(2, *SHAPE)).shape == (2, 2)

    def test_sides_halve_after_a_third_and_two_thirds(self):
        network = build(MACRO, MACRO.build().sample(Random(1)), {"filters": 3}, (2, 9, 8), 4)
        assert isinstance(network, EnasMacroNetwork)
        shapes: list[tuple[int, ...]] = []
        for layer in network.layers:
            layer.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[1:])))
        assert network(noise(2, 2, 9, 8)).shape == (2, 4)
        assert shapes == [(3, 9, 8)] * 2 + [(3, 5, 4)] * 2 + [(3, 3, 2)] * 2
