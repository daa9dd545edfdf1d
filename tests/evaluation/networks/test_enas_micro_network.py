"""The ENAS cell and its skeleton: loose ends, gates of inputs and operations, reductions."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
import torch
from torch.nn import functional

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.enas_micro import Cell, EnasMicroNetwork, Side
from spark_nas.evaluation.networks.enas_operations import LinearReduce
from spark_nas.evaluation.networks.mixed import Probe
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.enas_micro import EnasMicro, from_arc

MICRO = EnasMicro(layers=3, filters=2, nodes=2, dropout=0.0)
SHAPE = (1, 8, 8)


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def path_gates(architecture: Architecture) -> dict[str, dict[str, float]]:
    return {choice: {option: 1.0} for choice, option in architecture.items()}


class TestMicroCell:
    """One cell of two nodes, states 2 and 3."""

    def cell(self, architecture: Architecture = SUPERNET) -> Cell:
        torch.manual_seed(3)
        return Cell(MICRO, architecture, 2, kind="normal", affine=True).eval()

    def test_the_output_is_made_of_the_loose_ends_alone(self):
        # Node 2 = state 0 twice; node 3 = state 2 + its maxima. Loose: 1 and 3.
        architecture = from_arc("0 4 0 4 2 4 2 3  0 0 0 0 0 0 0 0")
        cell = self.cell(architecture)
        assert list(cell.ends) == ["1", "3"]
        older, newer = noise(2, 2, 8, 8, seed=4), noise(2, 2, 8, 8, seed=5)
        node2 = older + older
        node3 = node2 + functional.max_pool2d(node2, 3, 1, 1)
        kernels = [cell.get_parameter(f"ends.{state}.1.weight") for state in (1, 3)]
        loose = torch.cat([newer, node3], dim=1).relu()
        expected = cell.norm(functional.conv2d(loose, torch.cat(kernels, dim=1)))
        assert torch.allclose(expected, cell(older, newer), atol=1e-6)

    def test_a_supernet_has_weights_for_every_input_of_every_side(self):
        cell = self.cell()
        sides = {name: list(side.options) for name, side in cell.sides.items()}
        assert sides == {
            "2/left": ["0", "1"],
            "2/right": ["0", "1"],
            "3/left": ["0", "1", "2"],
            "3/right": ["0", "1", "2"],
        }
        assert list(cell.ends) == ["0", "1", "2", "3"]
        assert cell.get_submodule("sides.3/left.options.2.options.sep_conv_3x3") is not None

    def side(self) -> tuple[Side, list[torch.Tensor], str]:
        side = self.cell().sides["3/left"]
        assert isinstance(side, Side)
        return side, [noise(2, 2, 6, 6, seed=seed) for seed in (1, 2, 3)], "normal/node3/left"

    def test_inputs_and_operations_are_both_mixed_by_their_gates(self):
        side, states, name = self.side()
        inputs, operations = {"0": 0.5, "2": 2.0}, {"identity": 0.25, "sep_conv_5x5": 3.0}
        expected = sum(
            p * o * side.get_submodule(f"options.{state}.options.{operation}")(states[int(state)])
            for (state, p), (operation, o) in product(inputs.items(), operations.items())
        )
        actual = side(states, {f"{name}/input": inputs, f"{name}/operation": operations})
        assert torch.allclose(expected, actual, atol=1e-6)

    def test_tensors_as_gates_learn(self):
        side, states, name = self.side()
        gate = torch.tensor(1.0, requires_grad=True)
        gates = {f"{name}/input": {"1": gate}, f"{name}/operation": {"identity": 1.0}}
        side(states, gates).sum().backward()
        assert torch.allclose(states[1].sum(), gate.grad)

    def test_a_state_is_used_by_whatever_names_it_but_a_probe(self):
        side, _, name = self.side()
        gates = {f"{name}/input": {"0": 0.0, "1": 1.0, "2": Probe(torch.tensor(0.0))}}
        assert side.reads(gates) == {0, 1}

    def test_a_probed_input_leaves_the_output_as_it_was_and_learns_what_it_would_add(self):
        cell = self.cell()
        gates: dict = path_gates(from_arc("0 4 0 4 0 4 1 3  0 0 0 0 0 0 0 0"))
        older, newer = noise(2, 2, 8, 8, seed=4), noise(2, 2, 8, 8, seed=5)
        plain = cell(older, newer, gates)
        gate = torch.tensor(0.0, requires_grad=True)
        gates["normal/node3/left/input"] = {"0": 1.0, "2": Probe(gate)}
        gates["normal/node3/left/operation"] = {"sep_conv_3x3": 1.0}
        base = {**gates, "normal/node3/left/input": {"0": 1.0}}
        probed = cell(older, newer, gates)
        assert torch.equal(cell(older, newer, base), probed)
        assert not torch.equal(plain, probed)
        probed.sum().backward()
        assert gate.grad is not None
        assert gate.grad != 0
        assert all(p.grad is None for p in cell.get_submodule("sides.3/left.options.2").parameters())

    def test_an_input_that_is_not_there_is_refused(self):
        cell = self.cell(from_arc("0 4 0 4 2 4 2 3  0 0 0 0 0 0 0 0"))
        with pytest.raises(ValueError, match="has no option '1' here; there are: 0"):
            cell(noise(1, 2, 8, 8), noise(1, 2, 8, 8), {"normal/node2/left/input": {"1": 1.0}})


class TestMicroNetwork:
    """The skeleton."""

    @pytest.mark.parametrize(("layers", "expected"), [(3, [1, 3]), (6, [2, 5]), (15, [5, 11])])
    def test_reductions_are_where_the_released_code_has_them(self, layers: int, expected: list[int]):
        options = EnasMicro(layers=layers, filters=1, nodes=1)
        network = build(options, options.build().sample(Random(1)), {}, SHAPE, 2)
        assert isinstance(network, EnasMicroNetwork)
        reductions = [index for index, layer in enumerate(network.layers) if isinstance(layer.newer, LinearReduce)]
        assert expected == reductions
        assert len(network.layers) == layers + 2

    def test_channels_double_and_sides_halve_at_reductions(self):
        network = build(MICRO, MICRO.build().sample(Random(1)), {"filters": 3}, (2, 9, 8), 4)
        assert isinstance(network, EnasMicroNetwork)
        shapes: list[tuple[int, ...]] = []
        for layer in network.layers:
            layer.register_forward_hook(lambda *args: shapes.append(tuple(args[2].shape[1:])))
        assert network(noise(2, 2, 9, 8)).shape == (2, 4)
        assert shapes == [(3, 9, 8), (6, 5, 4), (6, 5, 4), (12, 3, 2), (12, 3, 2)]

    @pytest.mark.parametrize("side", [8, 32])
    def test_the_auxiliary_head_speaks_only_while_training(self, side: int):
        options = EnasMicro(layers=3, filters=2, nodes=1, auxiliary=True)
        network = build(options, options.build().sample(Random(1)), {}, (1, side, side), 3)
        logits, auxiliary = network.train()(noise(4, 1, side, side))
        assert logits.shape == auxiliary.shape == (4, 3)
        assert network.eval()(noise(4, 1, side, side)).shape == (4, 3)
