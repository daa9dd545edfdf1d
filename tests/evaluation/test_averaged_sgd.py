"""Averaged SGD: when it begins to average, that it never touches the steps, and that a cut changes no bit of it."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn, optim

from spark_nas.errors import OptionError
from spark_nas.evaluation.checkpoint import Checkpoint, dump, load
from spark_nas.evaluation.optimisers import OPTIMISERS, AveragedSGD, averaged, observe
from spark_nas.evaluation.training import Training

OPTIONS = Training(optimizer="averaged_sgd", learning_rate=0.1, weight_decay=0.01, non_monotone=2)


def made(*weights: nn.Parameter, options: Training = OPTIONS) -> AveragedSGD:
    optimiser = OPTIMISERS[options.optimizer](weights, options)
    assert isinstance(optimiser, AveragedSGD)
    return optimiser


def two(seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,))]


def step(optimiser: optim.Optimizer, weights: Sequence[nn.Parameter], number: int) -> None:
    """One step down a noisy bowl; the noise is a function of `number`."""
    generator = torch.Generator().manual_seed(number)
    optimiser.zero_grad(set_to_none=True)
    for weight in weights:
        noise = torch.randn(weight.shape, generator=generator)
        (weight + noise).square().sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def begin(optimiser: AveragedSGD) -> None:
    """Losses that only rise."""
    for loss in (1.0, 2.0, 3.0, 4.0):
        observe(optimiser, loss)
    assert optimiser.averaging


# ---- the trigger --------------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(st.lists(st.floats(0, 10), max_size=30), st.integers(1, 6))
def test_it_averages_from_the_first_loss_worse_than_the_best_of_all_but_the_last_epochs(
    losses: list[float], non_monotone: int
) -> None:
    optimiser = AveragedSGD(two(), lr=0.1, weight_decay=0.0, non_monotone=non_monotone)
    expected = False
    for epoch, loss in enumerate(losses):
        observe(optimiser, loss)
        # The released code: `t > n and v > min(logs[:-n])`, where logs are the t losses before this one.
        expected = expected or (epoch > non_monotone and loss > min(losses[:epoch][:-non_monotone]))
        assert expected == optimiser.averaging


def test_a_loss_that_keeps_falling_never_triggers_and_a_plateau_is_no_rise() -> None:
    falling, flat = made(*two()), made(*two())
    for epoch in range(50):
        observe(falling, 1 / (1 + epoch))
        observe(flat, 1.0)
    assert not falling.averaging
    assert not flat.averaging


# ---- steps and averages -------------------------------------------------------------------------------------------


def test_the_steps_are_those_of_plain_sgd_bit_for_bit_whatever_is_averaged() -> None:
    ours, theirs = two(), two()
    optimiser = made(*ours)
    plain = optim.SGD(theirs, lr=0.1, weight_decay=0.01)
    for number in range(8):
        if number == 4:
            begin(optimiser)
        step(optimiser, ours, number)
        step(plain, theirs, number)
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_the_average_is_the_mean_of_the_weights_after_each_step_since_it_began() -> None:
    weights = two()
    optimiser = made(*weights)
    step(optimiser, weights, 0)
    begin(optimiser)
    seen: list[list[torch.Tensor]] = []
    for number in range(1, 7):
        step(optimiser, weights, number)
        seen.append([weight.detach().clone() for weight in weights])
        with averaged(optimiser):
            for index, weight in enumerate(weights):
                mean = torch.stack([weights_then[index] for weights_then in seen]).double().mean(0)
                torch.testing.assert_close(weight.detach().double(), mean, rtol=1e-6, atol=1e-6)
        assert all(torch.equal(a, b) for a, b in zip(seen[-1], weights, strict=True))


def test_a_weight_without_a_gradient_is_neither_stepped_nor_averaged() -> None:
    used, unused = two()
    optimiser = made(used, unused)
    begin(optimiser)
    before = unused.detach().clone()
    for number in range(3):
        step(optimiser, [used], number)
    assert unused not in optimiser.state
    step(optimiser, [unused], 3)
    moved = unused.detach().clone()
    step(optimiser, [used], 4)
    assert not torch.equal(before, moved)
    with averaged(optimiser):
        assert torch.equal(moved, unused)
    assert torch.equal(moved, unused)


def test_before_it_averages_nothing_is_swapped() -> None:
    weights = two()
    optimiser = made(*weights)
    step(optimiser, weights, 0)
    now = [weight.detach().clone() for weight in weights]
    with averaged(optimiser):
        assert all(torch.equal(a, b) for a, b in zip(now, weights, strict=True))


@pytest.mark.parametrize("inference", [False, True])
def test_the_weights_come_back_bit_for_bit_after_an_error_too(inference: bool) -> None:
    weights = two()
    optimiser = made(*weights)
    begin(optimiser)
    for number in range(3):
        step(optimiser, weights, number)
    now = [weight.detach().clone() for weight in weights]

    def fail() -> None:
        with torch.inference_mode(inference), averaged(optimiser):
            assert not any(torch.equal(a, b) for a, b in zip(now, weights, strict=True))
            assert inference != torch.is_grad_enabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert all(torch.equal(a, b) for a, b in zip(now, weights, strict=True))
    step(optimiser, weights, 3)  # and they can be trained on


@pytest.mark.parametrize("name", sorted(set(OPTIMISERS) - {"averaged_sgd"}))
def test_the_other_optimisers_do_not_listen_and_have_no_averages(name: str) -> None:
    weights = two()
    optimiser = OPTIMISERS[name](weights, Training())
    for number in range(3):
        step(optimiser, weights, number)
        observe(optimiser, float(number))
    state = copy.deepcopy(optimiser.state_dict())
    now = [weight.detach().clone() for weight in weights]
    with averaged(optimiser):
        assert all(torch.equal(a, b) for a, b in zip(now, weights, strict=True))
    assert state["param_groups"] == optimiser.state_dict()["param_groups"]


# ---- cut and resumed ----------------------------------------------------------------------------------------------

LOSSES = (5.0, 4.0, 3.0, 3.5, 4.5, 2.0, 1.0, 0.5)


@pytest.mark.parametrize("cuts", [(1,), (3,), (4,), (5,), (1, 2, 3, 4, 5, 6, 7)])
def test_a_training_that_is_cut_and_resumed_through_a_checkpoint_is_the_same_bit_for_bit(cuts: tuple[int, ...]) -> None:
    def train(cut_at: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor], object]:
        weights = two()
        optimiser = made(*weights)
        for epoch, loss in enumerate(LOSSES):
            if epoch in cut_at:
                state = load(dump(Checkpoint({}, epoch, {}, optimiser.state_dict(), {})), {}).optimiser
                weights = [nn.Parameter(weight.detach().clone()) for weight in weights]
                optimiser = made(*weights)
                optimiser.load_state_dict(dict(state))
            for number in range(3):
                step(optimiser, weights, 3 * epoch + number)
            observe(optimiser, loss)
        with averaged(optimiser):
            means = [weight.detach().clone() for weight in weights]
        return weights, means, optimiser.param_groups[0]["losses"]

    expected, found = train(()), train(cuts)
    for kind in (0, 1):
        assert all(torch.equal(a, b) for a, b in zip(expected[kind], found[kind], strict=True))  # type: ignore[call-overload]
    assert not any(torch.equal(a, b) for a, b in zip(found[0], found[1], strict=True))
    assert [5.0, 4.0, 3.0, 3.5, 4.5] == expected[2] == found[2]


def test_state_of_one_optimiser_is_not_anothers() -> None:
    first, second = made(*two()), made(*two())
    begin(first)
    assert not second.averaging
    assert [] == second.param_groups[0]["losses"]


# ---- options ------------------------------------------------------------------------------------------------------


def test_a_recipe_may_choose_it() -> None:
    options = Training().with_recipe({"optimizer": "averaged_sgd", "non_monotone": 3})
    group = made(*two(), options=options).param_groups[0]
    assert (3, 0, 0.025, 3e-4) == tuple(group[key] for key in ("non_monotone", "momentum", "lr", "weight_decay"))
    assert 5 == Training().non_monotone


def test_a_window_of_no_epochs_is_refused() -> None:
    with pytest.raises(OptionError, match="non_monotone: 0: must be at least 1"):
        Training(non_monotone=0)
