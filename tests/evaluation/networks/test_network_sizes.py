"""Sizes of published networks, and the helpers that count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from spark_nas.evaluation.networks.build import build
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_genotype import from_genotype
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.nas_bench_201 import EDGES, NasBench201, choice_name, from_string
from spark_nas.spaces.wide_resnet import WideResNet
from tests.evaluation.networks.counting import multiply_accumulates, parameters

CIFAR = (3, 32, 32)
DARTS_V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('sep_conv_3x3', 1), "
    "('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), ('dil_conv_3x3', 2)], "
    "normal_concat=range(2, 6), reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2), "
    "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], "
    "reduce_concat=range(2, 6))"
)
ALL_CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"


def test_wide_resnet_16_4_has_the_specified_number_of_parameters():
    assert parameters(build(WideResNet(), SUPERNET, {}, CIFAR, 10)) == 2_748_890


def test_the_published_darts_cell_has_the_size_its_authors_print():
    network = build(Darts(layers=20, channels=36), from_genotype(DARTS_V2), {}, CIFAR, 10)
    assert parameters(network) == 3_349_342


def test_the_darts_supernet_has_the_size_its_authors_print():
    assert parameters(build(Darts(), SUPERNET, {}, CIFAR, 10, affine=False)) == 1_930_618


def test_the_largest_cell_of_nas_bench_201_has_its_published_size():
    assert parameters(build(NasBench201(), from_string(ALL_CONV), {}, CIFAR, 10)) == 1_531_546


def test_cells_of_nas_bench_201_have_the_sizes_of_the_table(shared_data: Callable[[str], Path]):
    with np.load(shared_data("tabular/nasbench201_final200.npz"), allow_pickle=False) as table:
        names = [str(name) for name in table["op_names"]]
        millions = table["cifar10-valid/model_size"]
        rows = np.random.default_rng(1).choice(len(table["ops"]), 5, replace=False)
        for row in rows:
            choices = {choice_name(*edge): names[op] for edge, op in zip(EDGES, table["ops"][row], strict=True)}
            network = build(NasBench201(), Architecture(choices), {}, CIFAR, 10)
            assert parameters(network) / 1e6 == pytest.approx(float(millions[row]), abs=1e-6), json.dumps(choices)


def test_a_perceptron_has_weights_and_biases():
    recipe = {"layers": 2, "units_1": 5, "units_2": 3}
    assert parameters(build(Mlp(), SUPERNET, recipe, (2, 2), 4)) == (4 * 5 + 5) + (5 * 3 + 3) + (3 * 4 + 4)


def test_multiply_accumulates_of_a_convolution_and_a_linear_layer():
    network = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, stride=2, padding=1), nn.Flatten(), nn.Linear(6 * 4 * 4, 5))
    assert multiply_accumulates(network, (4, 8, 8)) == (4 * 4 * 6) * (2 * 9) + 6 * 4 * 4 * 5


@pytest.mark.parametrize(("activation", "gain"), [("relu", 2**0.5), ("tanh", 1.0)])
def test_a_perceptron_starts_with_the_variance_that_suits_its_activation(activation: str, gain: float):
    network = build(Mlp(), SUPERNET, {"units": 400, "activation": activation}, (400,), 3, seed=1)
    weight = network.get_parameter("hidden.1.weight")
    assert weight.std().item() == pytest.approx(gain / 400**0.5, rel=0.02)
