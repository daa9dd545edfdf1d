"""The laws of `networks.build`, held for every space of networks."""

from __future__ import annotations

from random import Random

import pytest
import torch
from torch import nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.mixed import Gates
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.enas_macro import EnasMacro
from spark_nas.spaces.enas_micro import EnasMicro
from spark_nas.spaces.enas_rnn import EnasRnn
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.proxyless import Proxyless
from spark_nas.spaces.recipes import RecipeSpace
from spark_nas.spaces.wide_resnet import WideResNet

Options = Darts | DartsRnn | EnasMacro | EnasMicro | EnasRnn | Mlp | NasBench201 | Proxyless | WideResNet
NETWORKS: dict[str, Options] = {
    "darts": Darts(layers=3, channels=4),
    "darts_rnn": DartsRnn(hidden=6, nodes=3),
    "enas_macro": EnasMacro(layers=4, filters=4),
    "enas_micro": EnasMicro(layers=3, filters=2, nodes=3),
    "enas_rnn": EnasRnn(hidden=6, nodes=4),
    "mlp": Mlp(max_layers=2, max_units=32),
    "nas_bench_201": NasBench201(channels=4, cells=1),
    "proxyless": Proxyless(width=0.25, widths=(24, 40), depths=(2, 3), strides=(1, 2)),
    "wide_resnet": WideResNet(depth=10, width=1),
}
TEXTS = ["darts_rnn", "enas_rnn"]
IMAGES = sorted(set(NETWORKS) - {"mlp", *TEXTS})
SHAPES = [(1, 8, 8), (3, 4, 4), (1, 9, 7)]
CASES = [(name, shape) for name in sorted(NETWORKS) for shape in ([()] if name in TEXTS else SHAPES)]
TIME = 3
"""Tokens of a window of text; its logits have a row for each token of each column."""


@pytest.fixture(params=sorted(NETWORKS))
def options(request: pytest.FixtureRequest):
    return NETWORKS[request.param]


def recipe_of(options: Options, seed: int):
    return RecipeSpace(options.default_recipe()).sample(Random(seed))


def shape_of(options: Options) -> tuple[int, ...]:
    return () if options.name in TEXTS else (1, 8, 8)


def noise(rows: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """A batch of `rows` random images, or of as many columns of random tokens (of 5)."""
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(rows, *shape, generator=generator) if shape else torch.randint(5, (TIME, rows), generator=generator)
    )


def afresh(network: nn.Module, x: torch.Tensor, gates: Gates | None = None) -> torch.Tensor:
    """The logits in evaluation mode, of a text from its beginning on."""
    if hasattr(network, "reset"):
        network.reset()
    return network.eval()(x, gates)


def uniform_gates(options: Options):
    return {c.name: dict.fromkeys(c.options, 1 / len(c.options)) for c in options.build().choices}


def path_gates(architecture: Architecture):
    return {choice: {option: 1.0} for choice, option in architecture.items()}


def gates_that_use_all(options: Options) -> list[Gates]:
    """All options at once; where that leaves weights out that only some paths use, also such paths.

    In an ENAS cell a state has a part in the output if nothing reads it, and with all options something reads it.
    """
    paths: list[Gates] = []
    if isinstance(options, EnasMicro):
        for source in ("0", "1"):
            inputs = {c.name: source for c in options.build().choices if c.name.endswith("input")}
            paths.append(path_gates(options.build().sample(Random(1)).replace(inputs)))
    return [uniform_gates(options), *paths]


def warm_up(network: nn.Module, gates: Gates | None, shape: tuple[int, ...]) -> None:
    """Batch norms with statistics of their own, so that evaluation mode is put to the test."""
    torch.manual_seed(3)
    with torch.no_grad():
        for seed in range(3):
            network.train()(noise(8, shape, seed), gates)


@pytest.mark.parametrize(("name", "shape"), CASES)
@pytest.mark.parametrize("seed", [1, 2])
def test_logits_have_one_row_an_example_and_one_column_a_class(name: str, shape: tuple[int, ...], seed: int):
    options = NETWORKS[name]
    architecture = options.build().sample(Random(seed))
    network = build(options, architecture, recipe_of(options, seed), shape, 7, seed=1)
    assert network(noise(2, shape, seed)).shape == (2 if shape else 2 * TIME, 7)


@pytest.mark.parametrize("affine", [True, False])
def test_a_child_computes_what_its_path_computes_in_the_supernet(options: Options, affine: bool):
    shape, recipe = shape_of(options), recipe_of(options, 1)
    supernet = build(options, SUPERNET, recipe, shape, 5, affine=affine, seed=1)
    warm_up(supernet, uniform_gates(options), shape)
    weights = supernet.state_dict()
    x = noise(4, shape, 2)
    for seed in (1, 2, 3):
        architecture = options.build().sample(Random(seed))
        child = build(options, architecture, recipe, shape, 5, affine=affine, seed=9)
        child.load_state_dict({name: weights[name] for name in child.state_dict()})
        assert torch.equal(afresh(supernet, x, path_gates(architecture)), afresh(child, x))


def test_the_names_of_a_child_are_names_of_the_supernet(options: Options):
    shape = shape_of(options)
    recipe = recipe_of(options, 1)
    supernet = build(options, SUPERNET, recipe, shape, 5).state_dict()
    for seed in (1, 2, 3):
        child = build(options, options.build().sample(Random(seed)), recipe, shape, 5).state_dict()
        assert {name: supernet[name].shape for name in child} == {name: v.shape for name, v in child.items()}


def test_a_half_open_network_computes_what_the_supernet_computes(options: Options):
    shape, recipe = shape_of(options), recipe_of(options, 1)
    whole = options.build().sample(Random(4))
    half = Architecture(dict(list(whole.items())[::2]))
    supernet = build(options, SUPERNET, recipe, shape, 5, seed=1)
    network = build(options, half, recipe, shape, 5, seed=2)
    weights = supernet.state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    x = noise(4, shape, 2)
    gates = uniform_gates(options)
    open_gates = {name: weights for name, weights in gates.items() if name not in half}
    expected = afresh(supernet, x, {**gates, **path_gates(half)})
    assert torch.allclose(expected, afresh(network, x, open_gates), atol=1e-6)


def test_a_gradient_reaches_every_parameter_of_the_supernet(options: Options):
    network = build(options, SUPERNET, recipe_of(options, 1), shape_of(options), 5, seed=1)
    x = noise(4, shape_of(options), 1)
    for gates in gates_that_use_all(options):
        network(x, gates).sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_the_same_seed_gives_the_same_weights(options: Options):
    def weights(seed: int | None) -> dict[str, torch.Tensor]:
        return build(options, SUPERNET, recipe_of(options, 1), shape_of(options), 5, seed=seed).state_dict()

    first, again, other = weights(1), weights(1), weights(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize("seed", [None, 1])
def test_building_leaves_the_global_generator_as_it_was(options: Options, seed: int):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    build(options, SUPERNET, recipe_of(options, 1), shape_of(options), 5, seed=seed)
    assert torch.equal(before, torch.get_rng_state())


def test_without_a_seed_the_weights_follow_the_global_generator(options: Options):
    def classifier(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return build(options, SUPERNET, recipe_of(options, 1), shape_of(options), 5).get_parameter("classifier.weight")

    assert torch.equal(classifier(1), classifier(1))
    assert not torch.equal(classifier(1), classifier(2))


def test_the_supernet_without_gates_is_an_error_that_names_the_choice():
    for name in ("darts", "nas_bench_201"):
        network = build(NETWORKS[name], SUPERNET, {}, (1, 8, 8), 5)
        with pytest.raises(ValueError, match=r"0->\d' is open: give gates"):
            network(torch.zeros(2, 1, 8, 8))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_too_small_to_be_halved_twice_is_refused(name: str):
    with pytest.raises(OptionError, match="sides of at least 4"):
        build(NETWORKS[name], SUPERNET, {}, (1, 3, 8), 5)


@pytest.mark.parametrize("name", IMAGES)
def test_a_vector_is_refused_by_networks_of_images(name: str):
    with pytest.raises(OptionError, match="takes images"):
        build(NETWORKS[name], SUPERNET, {}, (64,), 5)


def test_an_architecture_outside_the_space_is_refused(options: Options):
    with pytest.raises(OptionError, match="is not in the space"):
        build(options, Architecture({"no": "such"}), {}, shape_of(options), 5)


def test_a_space_without_networks_is_refused():
    class Other:
        name = "dart"

        def build(self):
            raise AssertionError("must not be built")

    with pytest.raises(OptionError, match="did you mean 'darts'"):
        build(Other(), SUPERNET, {}, (1, 8, 8), 5)


@pytest.mark.parametrize(("shape", "classes"), [((), 5), ((1, 0, 8), 5), ((1, 8, 8), 0)])
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(TEXTS)))
def test_an_empty_task_is_refused(name: str, shape: tuple[int, ...], classes: int):
    with pytest.raises(OptionError, match="at least 1"):
        build(NETWORKS[name], SUPERNET, {}, shape, classes)


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_without_tokens_and_an_image_are_refused_by_networks_of_text(name: str):
    with pytest.raises(OptionError, match="at least 1"):
        build(NETWORKS[name], SUPERNET, {}, (), 0)
    for shape in SHAPES:
        with pytest.raises(OptionError, match="takes text"):
            build(NETWORKS[name], SUPERNET, {}, shape, 5)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(TEXTS)))
def test_a_text_is_refused_by_all_other_networks(name: str):
    with pytest.raises(OptionError, match=r"takes no text, .*use darts_rnn or enas_rnn"):
        build(NETWORKS[name], SUPERNET, {}, (), 5)
