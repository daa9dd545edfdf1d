"""Laws of single networks: strides, drop-path, the auxiliary head, equal functions of equal cells."""

from __future__ import annotations

import copy
from itertools import product
from random import Random

import pytest
import torch
from torch import nn

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.darts import Cell
from spark_nas.evaluation.networks.operations import DropPath, FactorisedReduce, darts_operation
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts import OPERATIONS, Darts
from spark_nas.spaces.nas_bench_201 import EDGES, NasBench201, choice_name
from spark_nas.spaces.nas_bench_201 import OPERATIONS as NB201_OPERATIONS
from spark_nas.spaces.wide_resnet import WideResNet


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "stride", "affine"), list(product(OPERATIONS, (1, 2), (True, False))))
def test_every_operation_keeps_channels_and_divides_sides_rounding_up(name: str, stride: int, affine: bool):
    operation = darts_operation(name, 4, stride, affine=affine)
    assert operation(noise(2, 4, 7, 6)).shape == (2, 4, -(-7 // stride), -(-6 // stride))


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_search_form_learns_no_scales_and_shifts(name: str):
    operation = darts_operation(name, 4, 2, affine=False)
    norms = [m for m in operation.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(not norm.affine for norm in norms)
    assert bool(norms) == (name != "none")


def test_a_factorised_reduction_reads_every_pixel():
    layer = FactorisedReduce(1, 2).eval()
    x = (noise(1, 1, 5, 5).abs() + 1).requires_grad_()
    for convolution in (layer.even, layer.odd):
        nn.init.ones_(convolution.weight)
    layer(x).sum().backward()
    seen = x.grad[0, 0] != 0
    on_a_diagonal = torch.tensor([[(i + j) % 2 == 0 for j in range(5)] for i in range(5)])
    assert torch.equal(torch.tensor([[i % 2 == j % 2 for j in range(5)] for i in range(5)]) & on_a_diagonal, seen)


@pytest.mark.parametrize(("layers", "expected"), [(3, [1, 2]), (5, [1, 3]), (8, [2, 5]), (20, [6, 13])])
def test_reductions_are_at_a_third_and_two_thirds(layers: int, expected: list[int]):
    network = build(Darts(layers=layers, channels=2), Darts().build().sample(Random(1)), {}, (1, 8, 8), 2)
    cells = [cell for cell in network.modules() if isinstance(cell, Cell)]
    assert expected == [index for index, cell in enumerate(cells) if cell.kind == "reduction"]


def test_drop_path_drops_whole_examples_and_keeps_the_mean():
    torch.manual_seed(1)
    drop = DropPath(nn.Identity())
    drop.drop_path = 0.25
    y = drop(torch.ones(4000, 1, 2, 2))
    assert y.unique().tolist() == pytest.approx([0.0, 4 / 3])
    assert torch.equal(y.amax(dim=(1, 2, 3)), y.amin(dim=(1, 2, 3)))
    assert y.mean().item() == pytest.approx(1.0, abs=0.05)
    assert torch.equal(torch.ones(3, 1, 1, 1), drop.eval()(torch.ones(3, 1, 1, 1)))


@pytest.mark.parametrize("side", [8, 28, 32])
def test_the_auxiliary_head_speaks_only_while_training(side: int):
    options = Darts(layers=3, channels=2, auxiliary=True)
    network = build(options, options.build().sample(Random(1)), {}, (1, side, side), 3)
    logits, auxiliary = network.train()(noise(4, 1, side, side))
    assert logits.shape == auxiliary.shape == (4, 3)
    assert network.eval()(noise(4, 1, side, side)).shape == (4, 3)


def tie(network: nn.Module) -> nn.Module:
    """Give all 3x3 and all 1x1 convolutions of each cell the same weights, and all its norms the same numbers.

    Then cells that share their canonical key must give equal numbers, whichever edges their operations are on.
    """
    for number, cell in enumerate(network.cells):
        if not hasattr(cell, "edges"):
            continue
        for module in cell.modules():
            if isinstance(module, nn.Conv2d):
                with torch.no_grad():
                    module.weight.copy_(noise(*module.weight.shape, seed=10 * number + module.kernel_size[0]) / 4)
            elif isinstance(module, nn.BatchNorm2d):
                nn.init.constant_(module.bias, 0.3)
                nn.init.constant_(module.weight, 0.7)
    return network.double().eval()


def test_cells_with_one_canonical_key_compute_one_function():
    options = NasBench201(channels=2, cells=1)
    space, rng, groups = options.build(), Random(1), {}
    while len(groups) < 600:
        names = [choice_name(*edge) for edge in EDGES]
        # Few convolutions, so that equal functions are met often.
        weights = (3, 3, 1, 1, 1)
        cell = Architecture(dict(zip(names, rng.choices(NB201_OPERATIONS, weights, k=6), strict=True)))
        groups.setdefault(space.canonical(cell), set()).add(cell)
    skeleton, x = build(options, SUPERNET, {}, (1, 8, 8), 3, seed=1), noise(2, 1, 8, 8).double()
    supernet, compared = tie(copy.deepcopy(skeleton)), 0
    with torch.no_grad():
        for members in list(groups.values())[:60]:
            outputs = [supernet(x, {c: {o: 1.0} for c, o in cell.items()}) for cell in sorted(members, key=repr)[:3]]
            compared += len(outputs) - 1
            assert all(torch.allclose(outputs[0], y, atol=1e-9) for y in outputs)
    assert compared >= 30


def test_dropout_of_the_recipe_acts_between_the_convolutions():
    network = build(WideResNet(depth=10, width=1), SUPERNET, {"dropout": 0.3}, (1, 8, 8), 3)
    assert [0.3] * 3 == [m.p for m in network.modules() if isinstance(m, nn.Dropout)]


def test_a_recipe_scales_the_network():
    small = build(NasBench201(), SUPERNET, {"channels": 2, "cells": 1}, (1, 8, 8), 3)
    assert len(small.cells) == 5
    assert small.classifier.in_features == 8
