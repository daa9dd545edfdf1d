"""DARTS: first and second order against arithmetic by hand and autograd (Liu et al. 2019, section 2.3)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.darts import Darts, unrolled_gradients
from spark_nas.evaluation.oneshot.mixture import TensorGates, gradients
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.evaluation.optimisers import AveragedSGD
from spark_nas.evaluation.training import Training
from tests.evaluation.oneshot.toys import TRAIN, VALID, ToyLearner, learner, linear, plain_space


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def one_gate(leaves: Sequence[Tensor]) -> TensorGates:
    return {"a": {"x": leaves[0]}}


def toy(**sgd: float) -> tuple[ToyLearner, Tensor]:
    """L_train = (w - a)**2 / 2 and L_valid = (w - 3)**2 / 2 at w = 2, with the weight."""
    w = nn.Parameter(scalar(2.0))

    def objective(batch: Batch, gates: Gates) -> Tensor:
        target = gates["a"]["x"] if batch.split == "train" else 3.0
        return (w - target) ** 2 / 2

    return learner(objective, w, **sgd), w


# ------------------------------------------------------------------------------------------- by hand


def test_the_first_order_of_the_toy_is_0():
    student, _ = toy()
    [slope] = gradients(student, VALID, one_gate, [scalar(1.0)])
    assert 0.0 == slope.item()


def test_the_second_order_of_the_toy_is_minus_0_11():
    student, _ = toy()
    [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)])
    assert pytest.approx(-0.11, abs=1e-12) == slope.item()


def test_momentum_and_decay_move_the_point_ahead():
    """w' = 2 - 0.1 * (0.9 * 0.5 + 1 + 0.2 * 2) = 1.815, so that v = -1.185 and the gradient is 0.1 * v."""
    student, w = toy(momentum=0.9, weight_decay=0.2)
    student.optimiser.state[w]["momentum_buffer"] = torch.tensor(0.5, dtype=torch.float64)
    [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)])
    assert pytest.approx(-0.1185, abs=1e-12) == slope.item()


def test_clipping_shortens_the_step_ahead_and_the_vector_and_scales_the_mixed_term():
    """At 0.25: w' = 2 - 0.1 * 0.25, v = -1.025 becomes -0.25, and the term is 0.1 * 0.25 * v."""
    student, _ = toy()
    student.clip_norm = 0.25
    [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)], clip=True)
    assert pytest.approx(-0.1 * 0.25 * 0.25, rel=1e-5) == slope.item()


@pytest.mark.parametrize("bound", [0.0, 100.0])
def test_a_bound_that_is_not_reached_changes_nothing(bound: float):
    student, _ = toy()
    student.clip_norm = bound
    [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)], clip=True)
    assert pytest.approx(-0.11, abs=1e-12) == slope.item()


def test_without_the_option_the_step_ahead_is_not_clipped():
    student, _ = toy()
    student.clip_norm = 0.25
    [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)])
    assert pytest.approx(-0.11, abs=1e-12) == slope.item()


def test_where_the_validation_loss_is_flat_in_the_weights_only_the_direct_term_is_left():
    w = nn.Parameter(scalar(2.0))

    def objective(batch: Batch, gates: Gates) -> Tensor:
        gate = gates["a"]["x"]
        return (w - gate) ** 2 if batch.split == "train" else 5 * gate + 0 * w

    [slope] = unrolled_gradients(learner(objective, w), (TRAIN, VALID), one_gate, [scalar(1.0)])
    assert 5.0 == slope.item()


def test_a_weight_that_the_training_loss_leaves_out_is_not_decayed_ahead():
    """As in a real step, where its gradient is None; else L_valid would see u = 4 * (1 - 0.1 * 0.5)."""
    w, u = nn.Parameter(scalar(2.0)), nn.Parameter(scalar(4.0))
    seen: list[float] = []

    def objective(batch: Batch, gates: Gates) -> Tensor:
        if batch.split == "train":
            return (w - gates["a"]["x"]) ** 2
        seen.append(u.item())
        return (w * u) ** 2

    unrolled_gradients(learner(objective, w, u, weight_decay=0.5), (TRAIN, VALID), one_gate, [scalar(1.0)])
    assert [4.0] == seen


# -------------------------------------------------------------------------------------- against autograd


def two_layers(x: Tensor, first: Tensor, second: Tensor, third: Tensor, gates: Gates) -> Tensor:
    """A hidden layer of two operations, mixed, and an output."""
    hidden = gates["a"]["tanh"] * torch.tanh(x @ first) + gates["a"]["sine"] * torch.sin(x @ second)
    return (torch.tanh(hidden) @ third).squeeze(-1)


def softmaxed(leaves: Sequence[Tensor]) -> TensorGates:
    tanh, sine = leaves[0].softmax(0)
    return {"a": {"tanh": tanh, "sine": sine}}


@pytest.mark.parametrize(("momentum", "clip"), [*itertools.product([0.0, 0.9], [0.0, 0.5])])
def test_it_agrees_with_autograd_through_the_step_ahead(momentum: float, clip: float):
    generator = torch.Generator().manual_seed(4)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    weights = [nn.Parameter(draw(4, 5)), nn.Parameter(draw(4, 5)), nn.Parameter(draw(5, 1))]
    batches = [Batch(draw(12, 4), draw(12), split) for split in ("train", "valid")]
    alpha = draw(2).requires_grad_()
    loss = lambda batch, gates, ws: ((two_layers(batch.x, *ws, gates) - batch.y) ** 2).mean()  # noqa: E731
    student = learner(lambda batch, gates: loss(batch, gates, weights), *weights, momentum=momentum, weight_decay=0.03)
    student.clip_norm = clip
    buffers = [draw(*weight.shape) for weight in weights]
    for weight, buffer in zip(weights, buffers, strict=True):
        student.optimiser.state[weight]["momentum_buffer"] = buffer

    [actual] = unrolled_gradients(student, (batches[0], batches[1]), softmaxed, [alpha], clip=clip > 0)

    slopes = torch.autograd.grad(loss(batches[0], softmaxed([alpha]), weights), weights, create_graph=True)
    scale = lambda parts: min(1.0, clip / torch.cat([p.flatten() for p in parts]).norm().item()) if clip else 1.0  # noqa: E731
    factor = scale(slopes)
    ahead = [w - 0.1 * (momentum * b + factor * s + 0.03 * w) for w, b, s in zip(weights, buffers, slopes, strict=True)]
    valid_loss = loss(batches[1], softmaxed([alpha]), ahead)
    v = torch.autograd.grad(valid_loss, ahead, retain_graph=True)
    # The released clipping scales the vector that is propagated back through the step, by a second factor.
    [direct] = torch.autograd.grad(loss(batches[1], softmaxed([alpha]), [a.detach() for a in ahead]), alpha)
    [whole] = torch.autograd.grad(valid_loss, alpha)
    expected = direct + scale(v) * (whole - direct)
    assert ((actual - expected).norm() / expected.norm()).item() < 1e-4
    assert ((actual - expected).norm() / (expected - direct).norm()).item() < 1e-3  # of the second order alone


# ------------------------------------------------------------------------------------- what it leaves alone


@pytest.mark.parametrize("fails_at", [None, 0, 1, 2, 3])
def test_weights_come_back_bit_for_bit_also_when_a_loss_fails(fails_at: int | None):
    w = nn.Parameter(torch.randn(1000, generator=torch.Generator().manual_seed(1)) * 1e-3)
    before, seen = w.detach().clone(), []

    def objective(batch: Batch, gates: Gates) -> Tensor:
        if len(seen) == fails_at:
            raise RuntimeError("no loss")
        seen.append(w.detach().clone())
        return ((w - gates["a"]["x"]) ** 3).sum()

    student = learner(objective, w)
    with contextlib.nullcontext() if fails_at is None else pytest.raises(RuntimeError, match="no loss"):
        unrolled_gradients(student, (TRAIN, VALID), one_gate, [torch.tensor(0.3, requires_grad=True)])
    assert torch.equal(before, w)
    assert (4 if fails_at is None else fails_at) == len(seen)
    assert not any(torch.equal(before, other) for other in seen[1:])
    assert w.grad is None
    assert {} == dict(student.optimiser.state)


# ------------------------------------------------------------------------------------------------ averaged SGD


@pytest.mark.parametrize("losses", [(), (1.0, 2.0, 3.0)])
def test_it_looks_ahead_by_the_step_that_averaged_sgd_takes(losses: tuple[float, ...]):
    """Before it averages and while it does, as the averages are beside the weights that train."""
    w, seen = nn.Parameter(scalar(2.0)), list[float]()

    def objective(batch: Batch, gates: Gates) -> Tensor:
        if batch.split == "valid":
            seen.append(w.item())
        return (w - (gates["a"]["x"] if batch.split == "train" else 3.0)) ** 2 / 2

    student = learner(objective, w)
    student.optimiser = optimiser = AveragedSGD([w], lr=0.1, weight_decay=0.2, non_monotone=1)
    for loss in losses:
        optimiser.observe(loss)
    for _ in range(3):
        before = w.item()
        [slope] = unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)])
        assert before == w.item()
        w.grad = w.detach() - 1.0
        optimiser.step()
        assert pytest.approx(w.item(), abs=1e-12) == seen[-1] != before
        assert pytest.approx(0.1 * (w.item() - 3.0), abs=1e-12) == slope.item()
    assert bool(losses) == optimiser.averaging == ("average" in optimiser.state[w])


def test_second_order_is_for_sgd_averaged_or_not():
    for optimizer in ("sgd", "averaged_sgd"):
        Darts(order=2).check_training(Training(optimizer=optimizer))
    with pytest.raises(OptionError, match="not of rmsprop: use optimizer: sgd or averaged_sgd"):
        Darts(order=2).check_training(Training(optimizer="rmsprop"))


# ------------------------------------------------------------------------------------------------ its steps


def test_a_step_on_alpha_is_a_step_of_adam_on_its_validation_gradient():
    torch.manual_seed(2)
    options = Darts(learning_rate=0.2, betas=(0.4, 0.9), weight_decay=0.3, init_scale=0.5)
    method = options.build(plain_space(3, 3))
    student = learner(linear({"a": [1.0, 0.0, -2.0], "b": [0.0, 3.0, 0.0]}))
    alpha = nn.Parameter(method.weights.alpha.detach().clone())
    adam = optim.Adam([alpha], lr=0.2, betas=(0.4, 0.9), weight_decay=0.3)
    for _ in range(3):
        method.step(student, TRAIN, lambda: VALID)
        cost = torch.tensor([[1.0, 0.0, -2.0], [0.0, 3.0, 0.0]])
        adam.zero_grad()
        (cost * alpha.softmax(-1)).sum().backward()
        adam.step()
    assert torch.allclose(alpha, method.weights.alpha, atol=1e-6)
    assert ["valid"] * 3 == student.asked


def test_alpha_begins_at_random_of_the_scale_given():
    torch.manual_seed(1)
    alpha = Darts().build(plain_space(*[8] * 500)).weights.alpha
    assert pytest.approx(0.0, abs=1e-4) == alpha.mean().item()
    assert pytest.approx(1e-3, rel=0.05) == alpha.std().item()


def test_second_order_looks_at_both_batches_and_differs_from_the_first():
    w = nn.Parameter(torch.tensor(2.0))

    def objective(batch: Batch, gates: Gates) -> Tensor:
        target = gates["a"]["o0"] if batch.split == "train" else 3.0 + 0 * gates["a"]["o0"]
        return (w - target) ** 2 / 2

    steps = {}
    for order in (1, 2):
        torch.manual_seed(1)
        method = Darts(order=order, weight_decay=0).build(plain_space(2))
        before, student = method.weights.alpha.detach().clone(), learner(objective, w)
        method.step(student, TRAIN, lambda: VALID)
        steps[order] = (method.weights.alpha - before).tolist(), student.asked
    # The validation loss falls with a larger o0, which draws the weight towards it; first order does not see that.
    assert [[0.0, 0.0]] == steps[1][0]
    assert steps[2][0][0][0] > 0 > steps[2][0][0][1]
    assert (["valid"], ["train", "valid", "train", "train"]) == (steps[1][1], steps[2][1])


def test_while_it_warms_up_alpha_stays_and_no_validation_batch_is_read():
    method = Darts(warmup_epochs=2).build(plain_space(2))
    student = learner(linear({"a": [1.0, 2.0]}))
    before = method.weights.alpha.detach().clone()
    for student.epochs in (0.0, 1.0, 1.99):
        method.step(student, TRAIN, lambda: pytest.fail("not needed"))
    assert torch.equal(before, method.weights.alpha)
    student.epochs = 2.0
    method.step(student, TRAIN, lambda: VALID)
    assert not torch.equal(before, method.weights.alpha)


def test_second_order_needs_sgd():
    student, w = toy()
    student.optimiser = optim.Adam([w])
    with pytest.raises(OptionError, match="optimizer: 'Adam': second order looks one step of sgd ahead"):
        unrolled_gradients(student, (TRAIN, VALID), one_gate, [scalar(1.0)])


@pytest.mark.parametrize(
    "wrong",
    [
        {"order": 3},
        {"learning_rate": -1.0},
        {"weight_decay": float("nan")},
        {"init_scale": float("inf")},
        {"betas": (0.5, 1.0)},
        {"warmup_epochs": -1.0},
    ],
)
def test_an_option_out_of_range_is_refused_by_name(wrong: dict[str, object]):
    with pytest.raises(OptionError) as caught:
        Darts(**wrong)
    assert list(wrong) == [caught.value.key]
