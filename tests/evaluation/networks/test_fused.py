"""The laws of the fused cell: the numbers of the plain one, and the plain one wherever they could differ."""

from __future__ import annotations

import copy
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from spark_nas.evaluation.loop import set_drop_path
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.darts import Cell
from spark_nas.evaluation.networks.mixed import Probe
from spark_nas.evaluation.norms import batch_statistics, norms_of
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts import Darts

Gates = dict[str, dict[str, object]]
SPACE = Darts().build()


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def cell_of(*, reduces: bool = False, after: bool = False, partial: int = 1, affine: bool = False, decided: int = 0):
    torch.manual_seed(1)
    options = Darts(channels=4, partial_channels=partial)
    sample = SPACE.sample(Random(1))
    architecture = Architecture(dict(sorted(sample.items())[:decided]))
    return Cell(options, architecture, (6, 8), 4, reduces=reduces, after_reduction=after, affine=affine)


def random_gates(seed: int, *, everything: bool = False, dtype: torch.dtype = torch.float32, tensors: bool = True):
    """Some options of each edge, at least one; weights of either sign."""
    rng, gates = Random(seed), {}
    for choice in SPACE.choices:
        some = [option for option in choice.options if everything or rng.random() < 0.4] or [rng.choice(choice.options)]
        weights = {option: rng.uniform(-1, 1) for option in some}
        gates[choice.name] = {
            option: torch.tensor(weight, dtype=dtype, requires_grad=True) if tensors else weight
            for option, weight in weights.items()
        }
    return gates


def inputs_of(cell: Cell, dtype: torch.dtype = torch.float32, side: tuple[int, int] = (6, 5)):
    double = isinstance(cell.older, nn.Module) and hasattr(cell.older, "even")
    older = tuple(2 * n - 1 for n in side) if double else side
    return noise(3, 6, *older, seed=2).to(dtype).requires_grad_(), noise(3, 8, *side, seed=3).to(dtype).requires_grad_()


def is_fused(y: torch.Tensor) -> bool:
    """Whether a separable convolution of the fused cell is among what computed it."""
    seen, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() == "SeparableBackward":
            return True
        todo += [parent for parent, _ in node.next_functions]
    return False


def everything_of(cell: Cell, gates: Gates, *, plain: bool, side: tuple[int, int] = (6, 5)):
    """Output, all gradients and all buffers, by name; a watched cell takes the plain route."""
    cell = copy.deepcopy(cell)
    if plain:
        cell.newer.register_forward_hook(lambda *_: None)
    tensors = {f"gate {c} {o}": w for c, of in gates.items() for o, w in of.items() if isinstance(w, torch.Tensor)}
    tensors.update(cell.named_parameters())
    tensors["older"], tensors["newer"] = inputs_of(cell, next(cell.parameters()).dtype, side)
    y = cell(tensors["older"], tensors["newer"], gates)
    assert is_fused(y) != plain
    slope = noise(*y.shape, seed=4).to(y.dtype)
    slopes = torch.autograd.grad(y, list(tensors.values()), slope, allow_unused=True)
    found = {f"slope of {name}": s for name, s in zip(tensors, slopes, strict=True)}
    return {"y": y.detach(), **found, **dict(cell.named_buffers())}


def assert_same(expected: dict[str, torch.Tensor | None], actual: dict[str, torch.Tensor | None], tolerance: float):
    assert [n for n, v in expected.items() if v is None] == [n for n, v in actual.items() if v is None]
    for name, value in expected.items():
        # A gate of another cell, and a weight of an option without a gate, have no slope.
        if value is not None:
            scale = max(1.0, value.double().abs().max().item())
            error = (value.double() - actual[name].double()).abs().max().item() / scale
            assert error <= tolerance, name


@pytest.mark.slow
@given(
    seed=st.integers(0, 999),
    reduces=st.booleans(),
    after=st.booleans(),
    partial=st.sampled_from([1, 2]),
    training=st.booleans(),
    side=st.tuples(st.integers(4, 6), st.integers(4, 6)),
    double=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_a_fused_cell_has_the_outputs_gradients_and_statistics_of_the_plain_one(
    seed: int, reduces: bool, after: bool, partial: int, training: bool, side: tuple[int, int], double: bool
):
    dtype, tolerance = (torch.float64, 1e-9) if double else (torch.float32, 1e-2)
    cell = cell_of(reduces=reduces, after=after, partial=partial).to(dtype).train(training)
    gates = random_gates(seed, everything=seed % 5 == 0, dtype=dtype)
    expected, actual = (everything_of(cell, gates, plain=plain, side=side) for plain in (True, False))
    assert_same(expected, actual, tolerance)


@pytest.mark.parametrize("reduces", [False, True])
def test_single_precision_agrees_to_its_rounding(reduces: bool):
    cell, gates = cell_of(reduces=reduces), random_gates(7, everything=True)
    expected, actual = (everything_of(cell, gates, plain=plain) for plain in (True, False))
    assert_same(expected, actual, 1e-4)


def test_floats_are_weights_too():
    cell, gates = cell_of().double(), random_gates(3, tensors=False)
    gates["normal/0->2"] = {"skip_connect": 1.0, "max_pool_3x3": 0.5, "sep_conv_3x3": 1.0, "none": 2.0}
    expected, actual = (everything_of(cell, gates, plain=plain) for plain in (True, False))
    assert_same(expected, actual, 1e-9)


@pytest.mark.parametrize("partial", [1, 2])
@pytest.mark.parametrize("weight", [1.0, torch.tensor(0.5, requires_grad=True)])
def test_nodes_that_nothing_reaches_are_zeros_whose_gates_have_a_gradient(partial: int, weight: object):
    cell = cell_of(reduces=True, partial=partial)
    gates: Gates = {choice.name: {"none": weight} for choice in SPACE.choices}
    gates["reduction/0->3"] = {"sep_conv_3x3": 0.5, "none": weight}
    expected, actual = (everything_of(cell, gates, plain=plain) for plain in (True, False))
    assert_same(expected, actual, 1e-5)


@pytest.mark.parametrize(("reduces", "decided"), [(False, 6), (True, 20)])
def test_a_half_decided_cell_is_fused_too(reduces: bool, decided: int):
    cell = cell_of(reduces=reduces, decided=decided).double()
    open_choices = {edge.choice for edge in cell.edges.values() if not edge.decided}
    gates = {name: weights for name, weights in random_gates(2, everything=True).items() if name in open_choices}
    assert len(open_choices) == 8
    expected, actual = (everything_of(cell, gates, plain=plain) for plain in (True, False))
    assert_same(expected, actual, 1e-9)


@pytest.mark.parametrize("training", [True, False])
def test_norms_may_use_the_batchs_statistics_and_remember_none(training: bool):
    cell, gates = cell_of().double().train(training), random_gates(1)
    before = {name: buffer.clone() for name, buffer in cell.named_buffers()}
    with batch_statistics(norms_of(cell)):
        expected, actual = (everything_of(cell, gates, plain=plain) for plain in (True, False))
    assert_same(expected, actual, 1e-9)
    assert all(torch.equal(before[name], actual[name]) for name in before)


def test_a_cell_without_gradients_is_fused_and_the_same():
    cell, gates = cell_of().double(), random_gates(1)
    watched = copy.deepcopy(cell)
    watched.newer.register_forward_hook(lambda *_: None)
    older, newer = inputs_of(cell, torch.float64)
    for without in (torch.no_grad, torch.inference_mode):
        with without():
            assert torch.allclose(watched(older, newer, gates), cell(older, newer, gates), rtol=0, atol=1e-10)


def path() -> Gates:
    return {choice: {option: 1.0} for choice, option in SPACE.sample(Random(1)).items()}


def probed() -> Gates:
    return {**random_gates(1), "normal/0->2": {"sep_conv_3x3": 1.0, "none": Probe(torch.zeros(()))}}


@pytest.mark.parametrize("gates", [path(), probed()])
def test_paths_and_probes_take_the_plain_route(gates: Gates):
    cell = cell_of()
    assert not is_fused(cell(*inputs_of(cell), gates))


def test_dropped_paths_take_the_plain_route_while_training():
    cell, gates = cell_of(), random_gates(1)
    set_drop_path(cell, 0.2)
    assert not is_fused(cell(*inputs_of(cell), gates))
    assert is_fused(cell.eval()(*inputs_of(cell), gates))


def test_affine_norms_half_precision_and_replaced_modules_take_the_plain_route():
    gates = random_gates(1, everything=True)
    affine, cell = cell_of(affine=True), cell_of()
    assert not is_fused(affine(*inputs_of(affine), gates))
    with torch.autocast("cpu", torch.bfloat16):
        assert not is_fused(cell(*inputs_of(cell), gates))
    assert is_fused(cell(*inputs_of(cell), gates))
    cell.edges["0->2"].options["skip_connect"] = nn.Tanh()
    assert not is_fused(cell(*inputs_of(cell), gates))


def test_a_hook_on_all_modules_sees_the_plain_route():
    cell, gates, seen = cell_of(), random_gates(1, everything=True), []
    handle = register_module_forward_hook(lambda module, *_: seen.append(type(module)))
    try:
        cell(*inputs_of(cell), gates)
    finally:
        handle.remove()
    assert seen.count(nn.MaxPool2d) == 14


def test_an_open_edge_without_gates_is_an_error():
    with pytest.raises(ValueError, match=r"'normal/0->2' is open"):
        cell_of()(*inputs_of(cell_of()), {**random_gates(1), "normal/0->2": {}})


def test_a_fused_step_keeps_less_for_backward_than_a_plain_one():
    kept = {}
    for plain in (True, False):
        cell, storages = cell_of(), {}
        if plain:
            cell.newer.register_forward_hook(lambda *_: None)

        def keep(tensor: torch.Tensor, storages: dict[int, int] = storages) -> torch.Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = cell(*inputs_of(cell, side=(16, 16)), random_gates(1, everything=True))
        kept[plain] = sum(storages.values())
        assert y.requires_grad
    assert kept[False] < 0.7 * kept[True]


@pytest.mark.slow
def test_a_whole_supernet_has_the_same_losses_over_some_steps():
    losses = {}
    for plain in (True, False):
        network = build(Darts(layers=3, channels=4), SUPERNET, {}, (3, 8, 8), 5, affine=False, seed=1).double()
        if plain:
            for cell in network.cells:
                cell.newer.register_forward_hook(lambda *_: None)
        optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        losses[plain] = []
        for step in range(3):
            loss = network(noise(4, 3, 8, 8, seed=step).double(), random_gates(step)).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[plain].append(loss.item())
    assert losses[False] == pytest.approx(losses[True], rel=1e-9)
