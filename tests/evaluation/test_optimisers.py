"""Laws of the schedules, and what each optimiser is told."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from spark_nas.evaluation.optimisers import OPTIMISERS, learning_rate, set_learning_rate
from spark_nas.evaluation.training import Training


def test_the_cosine_goes_from_the_full_rate_to_the_minimum() -> None:
    options = Training(learning_rate=0.1, minimum_learning_rate=0.001)
    rates = [learning_rate(options, epochs, 10) for epochs in (0, 5, 10)]
    assert rates == pytest.approx([0.1, 0.0505, 0.001])


def test_the_step_schedule_is_that_of_wide_resnets() -> None:
    """Times 0.2 at epochs 60, 120 and 160 of 200."""
    options = Training(learning_rate=0.1, schedule="step")
    rates = [learning_rate(options, epoch, 200) for epoch in (0, 59, 60, 119, 120, 159, 160, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02, 0.004, 0.004, 0.0008, 0.0008])


def test_a_constant_rate_has_no_end() -> None:
    assert learning_rate(Training(schedule="constant", learning_rate=0.3), 1000, 10) == 0.3


def test_warm_up_rises_linearly_and_then_leaves_the_schedule_alone() -> None:
    plain, warm = Training(learning_rate=0.1), Training(learning_rate=0.1, warmup=2)
    rates = [learning_rate(warm, epochs, 10) for epochs in (0, 1, 1.5)]
    assert rates == pytest.approx([0.01, 0.055, 0.0775])
    assert learning_rate(plain, 2, 10) == learning_rate(warm, 2, 10)


@pytest.mark.parametrize("name", sorted(OPTIMISERS))
def test_every_optimiser_takes_the_options_and_descends(name: str) -> None:
    weight = nn.Parameter(torch.tensor([3.0, -2.0]))
    options = Training(optimizer=name, learning_rate=0.05, weight_decay=0.0)  # type: ignore[arg-type]
    optimiser = OPTIMISERS[name]([weight], options)
    before = weight.square().sum().item()
    for _ in range(20):
        optimiser.zero_grad()
        weight.square().sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert weight.square().sum().item() < before / 2


def test_sgd_with_nesterov_momentum_and_decay_is_the_textbook_update() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    options = Training(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.5)
    optimiser = OPTIMISERS["sgd"]([weight], options)
    value, velocity = 2.0, 0.0
    for _ in range(3):
        optimiser.zero_grad()
        weight.sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        gradient = 1.0 + 0.5 * value
        velocity = 0.9 * velocity + gradient
        value -= 0.1 * (gradient + 0.9 * velocity)
    assert math.isclose(value, weight.item(), rel_tol=1e-6)


def test_nesterov_without_momentum_is_plain_sgd() -> None:
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = OPTIMISERS["sgd"]([weight], Training(learning_rate=0.1, momentum=0.0, nesterov=True, weight_decay=0.0))
    weight.sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    assert weight.item() == pytest.approx(1.9)


def test_setting_the_rate_reaches_every_group() -> None:
    groups = [{"params": [nn.Parameter(torch.ones(1))]}, {"params": [nn.Parameter(torch.ones(1))]}]
    optimiser = torch.optim.SGD(groups, lr=1.0)
    set_learning_rate(optimiser, 0.25)
    assert [group["lr"] for group in optimiser.param_groups] == [0.25, 0.25]


def test_a_cosine_with_restarts_begins_again_after_10_30_and_70_epochs() -> None:
    """Loshchilov and Hutter (2017) with T_0 = 10 and T_mult = 2, as the released ENAS has it."""
    options = Training(schedule="cosine_restarts", learning_rate=0.05, minimum_learning_rate=0.0005, restart=10)
    rates = [learning_rate(options, epochs, 150) for epochs in (0, 5, 9.999, 10, 20, 29.999, 30, 50, 70)]
    middle = (0.05 + 0.0005) / 2
    assert rates == pytest.approx([0.05, middle, 0.0005, 0.05, middle, 0.0005, 0.05, middle, 0.05], abs=1e-6)


def test_an_exponential_schedule_holds_and_then_falls_each_epoch_to_its_minimum() -> None:
    options = Training(schedule="exponential", learning_rate=20.0, minimum_learning_rate=17.0, decay=0.9, hold=2)
    rates = [learning_rate(options, epochs, 100) for epochs in (0, 2.9, 3, 3.5, 4)]
    assert rates == pytest.approx([20.0, 20.0, 18.0, 18.0, 17.0])
