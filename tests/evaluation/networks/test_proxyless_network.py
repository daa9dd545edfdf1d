"""Laws of the ProxylessNAS network beyond the contract, and the sizes its authors print."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.proxyless import Block, ProxylessNetwork
from spark_nas.evaluation.oneshot.protocol import path
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.proxyless import ZERO, Proxyless
from tests.evaluation.networks.counting import multiply_accumulates, parameters

SMALL = Proxyless(width=0.25, widths=(24, 40), depths=(2, 3), strides=(1, 2))
SHAPE = (3, 8, 8)
MOBILE = (
    ("mbconv5_e3", "mbconv3_e3", ZERO, ZERO),
    ("mbconv7_e3", "mbconv3_e3", "mbconv5_e3", "mbconv5_e3"),
    ("mbconv7_e6", "mbconv5_e3", "mbconv5_e3", "mbconv5_e3"),
    ("mbconv5_e6", "mbconv5_e3", "mbconv5_e3", "mbconv5_e3"),
    ("mbconv7_e6", "mbconv7_e6", "mbconv7_e3", "mbconv7_e3"),
    ("mbconv7_e6",),
)
"""The architecture published as ProxylessNAS-Mobile; its first stage has 32 channels, not 24."""


def mobile(options: Proxyless) -> nn.Module:
    decisions = [operation for stage in MOBILE for operation in stage]
    names = [choice.name for choice in options.build().choices]
    return build(options, Architecture(dict(zip(names, decisions, strict=True))), {}, (3, 224, 224), 1000)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_the_published_mobile_network_has_the_size_and_cost_that_its_authors_print():
    network = mobile(Proxyless(widths=(32, 40, 80, 96, 192, 320)))
    assert parameters(network) == 4_080_512  # "4.08M"
    assert multiply_accumulates(network, (3, 224, 224)) / 1e6 == pytest.approx(320.4, abs=0.05)


def test_the_multiplier_gives_the_published_wide_network():
    # Its widths 40, 56, 112, 136, 256, 448 are 1.4 times these, rounded to eights.
    assert parameters(mobile(Proxyless(width=1.4, widths=(28, 40, 80, 96, 184, 320)))) == 6_857_568


def test_a_block_left_out_hands_on_its_input_and_runs_nothing():
    network = build(SMALL, SUPERNET, {}, SHAPE, 5, seed=1)
    block = network.blocks[0]
    assert isinstance(block, Block)
    x = noise(2, 8, 4, 4)
    assert block(x, {"stage0/block0": {ZERO: 1.0}}) is x
    assert torch.equal(x, block(x, {"stage0/block0": {ZERO: torch.tensor(0.5, requires_grad=True)}}))


def test_the_shortcut_stands_beside_the_weighted_sum():
    block = build(SMALL, SUPERNET, {}, SHAPE, 5, seed=1).eval().blocks[1]
    x, options = noise(2, 8, 4, 4), block.operation.options
    gates = {"stage0/block1": {"mbconv3_e3": 0.25, "mbconv7_e6": 0.5, ZERO: 0.25}}
    expected = x + 0.25 * options["mbconv3_e3"](x) + 0.5 * options["mbconv7_e6"](x)
    assert torch.allclose(expected, block(x, gates), atol=1e-6)


def test_a_block_that_changes_width_or_resolution_has_no_shortcut():
    network = build(SMALL, SUPERNET, {}, SHAPE, 5, seed=1).eval()
    assert [block.shortcut for block in network.blocks] == [True, True, False, True, True]
    x = noise(2, 8, 4, 4)
    y = network.blocks[2](x, {"stage1/block0": {"mbconv3_e3": 1.0}})
    assert torch.equal(y, network.blocks[2].operation.options["mbconv3_e3"](x))
    assert y.shape == (2, 16, 2, 2)


def test_only_the_last_norm_of_a_block_is_linear():
    bottleneck = build(SMALL, SUPERNET, {}, SHAPE, 5).blocks[0].operation.options["mbconv5_e6"]
    layers = [type(layer).__name__ for part in bottleneck for layer in part]
    assert layers == ["Conv2d", "BatchNorm2d", "ReLU6"] * 2 + ["Conv2d", "BatchNorm2d"]
    kernels = [(layer.kernel_size[0], layer.groups) for part in bottleneck for layer in part[:1]]
    assert kernels == [(1, 1), (5, 48), (1, 1)]


def test_equal_canonical_keys_compute_the_same_with_tied_weights():
    """A left-out block commutes with blocks of its shape."""
    space = SMALL.build()
    early = {"stage1/block1": ZERO, "stage1/block2": "mbconv5_e3"}
    late = {"stage1/block1": "mbconv5_e3", "stage1/block2": ZERO}
    base = space.sample(Random(1))
    first, second = (build(SMALL, base.replace(change), {}, SHAPE, 5, seed=1).eval() for change in (early, late))
    assert space.canonical(base.replace(early)) == space.canonical(base.replace(late))
    tied = {name.replace("blocks.4.", "blocks.3."): value for name, value in first.state_dict().items()}
    second.load_state_dict(tied)
    x = noise(2, *SHAPE)
    assert torch.equal(first(x), second(x))


@pytest.mark.parametrize(("affine", "search_affine"), [(True, True), (True, False), (False, True), (False, False)])
def test_norms_of_blocks_learn_unless_neither_the_search_form_nor_the_final_one_does(affine: bool, search_affine: bool):
    options = Proxyless(width=0.25, widths=(24,), depths=(1,), strides=(1,), search_affine=search_affine)
    network = build(options, SUPERNET, {}, SHAPE, 5, affine=affine)
    inside = [m.affine for m in network.blocks.modules() if isinstance(m, nn.BatchNorm2d)]
    fixed = nn.ModuleList([network.stem, network.first, network.head])
    outside = [m.affine for m in fixed.modules() if isinstance(m, nn.BatchNorm2d)]
    assert set(inside) == {affine or search_affine}
    assert set(outside) == {True}


def test_convolutions_start_from_the_normal_distribution_of_the_release():
    network = build(Proxyless(widths=(64,), depths=(1,), strides=(1,)), SUPERNET, {}, SHAPE, 5, seed=1)
    depthwise = network.get_parameter("blocks.0.operation.options.mbconv7_e6.1.0.weight")
    assert depthwise.shape == (96, 1, 7, 7)
    assert depthwise.std().item() == pytest.approx((2 / (96 * 49)) ** 0.5, rel=0.05)
    assert network.get_parameter("classifier.bias").abs().max() == 0


def test_dropout_of_the_recipe_acts_before_the_classifier():
    network = build(SMALL, SMALL.build().sample(Random(1)), {"dropout": 0.3}, SHAPE, 5)
    assert isinstance(network, ProxylessNetwork)
    assert network.dropout.p == 0.3


def test_an_image_that_the_strides_would_shrink_to_nothing_is_refused():
    with pytest.raises(OptionError, match="divide sides by 32: use sides of at least 32, or smaller strides"):
        build(Proxyless(), SUPERNET, {}, (3, 28, 28), 10)


def test_images_of_32_pixels_keep_a_map_of_4_with_the_strides_for_small_images():
    options = Proxyless(width=0.25, depths=(1, 1, 1, 1, 1, 1), stem_stride=1, strides=(1, 2, 2, 1, 2, 1))
    network = build(options, options.build().sample(Random(1)), {}, (3, 32, 32), 10).eval()
    shapes = []
    network.head.register_forward_hook(lambda module, inputs, y: shapes.append(tuple(y.shape)))
    network(torch.zeros(1, 3, 32, 32))
    assert shapes == [(1, 1280, 4, 4)]


def test_one_path_runs_one_option_a_block():
    network = build(SMALL, SUPERNET, {}, SHAPE, 5, seed=1).eval()
    ran = []
    for block in network.blocks:
        for name, option in block.operation.options.items():
            option.register_forward_hook(lambda *_, key=(block.operation.choice, name): ran.append(key))
    architecture = SMALL.build().sample(Random(5))
    network(noise(2, *SHAPE), path(architecture))
    assert ran == [(name, architecture[name]) for name in architecture if architecture[name] != ZERO]
