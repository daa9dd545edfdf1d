"""Laws of the one `fit` loop."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from training_support import Digits, SmallNetwork

from spark_nas.errors import DataError, Diverged
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.feed import Feed
from spark_nas.evaluation.loop import Course, Measured, fit, measure
from spark_nas.evaluation.networks.operations import DropPath
from spark_nas.evaluation.oneshot.protocol import Batch, Fixed, Gates, Learner, Method, Valid
from spark_nas.evaluation.optimisers import OPTIMISERS, learning_rate
from spark_nas.evaluation.training import Training


class TwoPaths(nn.Module):
    """Two linear options of one choice; absent gates run the first, and the head is shared."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.options = nn.ModuleDict({"a": nn.Linear(64, 16), "b": nn.Linear(64, 16)})
        self.head = nn.Linear(16, 10)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.1, generator=generator)

    def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
        chosen = gates["choice"] if gates else {"a": 1.0}
        mixed = sum(weight * self.options[name](x_BCHW.flatten(1)) for name, weight in chosen.items())
        logits: Tensor = self.head(mixed)
        return logits


def course(options: Training, train_on: tuple[str, ...] = ("train",), dataset: Digits | None = None) -> Course:
    feed = Feed(dataset or Digits(), torch.device("cpu"), Augmentation())
    return Course(options, feed, train_on, seed=3, horizon=4, check_time=lambda: None)


def train(network: nn.Module, options: Training, epochs: range, gates: Gates | None = None) -> list[Measured]:
    optimiser = OPTIMISERS[options.optimizer](network.parameters(), options)
    return [measured for _, measured, _ in fit(network, Fixed(gates), optimiser, course(options), epochs)]


@pytest.mark.parametrize("optimizer", sorted(OPTIMISERS))
def test_weights_off_the_path_are_bitwise_untouched(optimizer: str) -> None:
    """Although momentum and decay would move them if their gradient were zero (and not None)."""
    network = TwoPaths()
    options = Training(optimizer=optimizer, weight_decay=0.01, learning_rate=0.01)  # type: ignore[arg-type]
    optimiser = OPTIMISERS[optimizer](network.parameters(), options)
    # A first epoch on b fills b's momentum; the second runs a only.
    list(fit(network, Fixed({"choice": {"b": 1.0}}), optimiser, course(options), range(1)))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    list(fit(network, Fixed({"choice": {"a": 1.0}}), optimiser, course(options), range(1, 2)))
    moved = {name for name, value in network.state_dict().items() if not torch.equal(before[name], value)}
    assert {"options.a.weight", "options.a.bias", "head.weight", "head.bias"} == moved


def test_training_learns_digits() -> None:
    torch.default_generator.manual_seed(0)
    measured = train(SmallNetwork((1, 8, 8), 10, 0.0, 8), Training(learning_rate=0.05, batch_size=16), range(4))
    assert measured[-1].error < 0.1 < measured[0].error


def test_measuring_agrees_with_one_pass_over_the_whole_split() -> None:
    network = TwoPaths()
    whole = course(Training(evaluation_batch_size=10_000))
    parts = course(Training(evaluation_batch_size=7))
    x, y = next(whole.feed.stored("valid", 10_000))
    logits = network(x)
    expected = (nn.functional.cross_entropy(logits, y).item(), (logits.argmax(1) != y).float().mean().item())
    for one in (whole, parts):
        measured = measure(network, lambda: None, one, "valid")
        assert pytest.approx(expected, rel=1e-5) == (measured.loss, measured.error)


def test_a_loss_that_is_not_finite_ends_the_training_at_once_naming_epoch_and_step() -> None:
    calls = []

    class Breaks(TwoPaths):
        def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
            calls.append(len(x_BCHW))
            return super().forward(x_BCHW) * (float("nan") if len(calls) == 5 else 1.0)

    with pytest.raises(Diverged, match="became nan in epoch 2, step 2 of 3"):
        train(Breaks(), Training(batch_size=96), range(4))
    assert len(calls) == 5


def test_a_huge_rate_diverges_rather_than_ending_with_a_number() -> None:
    with pytest.raises(Diverged, match="training loss became"):
        train(TwoPaths(), Training(learning_rate=1e30, clip_norm=0.0), range(4))


def test_an_overflow_on_the_measured_split_is_a_divergence() -> None:
    network = TwoPaths()
    nn.init.constant_(network.head.weight, float("inf"))
    with pytest.raises(Diverged, match="on the valid split"):
        measure(network, lambda: None, course(Training()), "valid")


def test_the_gradient_is_clipped_to_the_given_norm() -> None:
    network = TwoPaths()
    before = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    options = Training(
        learning_rate=1.0, momentum=0.0, weight_decay=0.0, clip_norm=0.01, batch_size=256, schedule="constant"
    )
    train(network, options, range(1))
    after = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert pytest.approx(0.01, rel=1e-3) == (after - before).norm().item()


def test_the_rate_of_an_epoch_is_that_of_the_full_budget() -> None:
    options = Training()
    network = TwoPaths()
    optimiser = OPTIMISERS["sgd"](network.parameters(), options)
    rates = [rate for _, _, rate in fit(network, Fixed(), optimiser, course(options), range(1, 3))]
    assert [learning_rate(options, epoch, 4) for epoch in (1, 2)] == rates


def test_training_on_two_splits_sees_every_row_once_an_epoch_and_mixes_them() -> None:
    dataset = Digits(sizes=(("train", 250), ("valid", 130)))
    feed = Feed(dataset, torch.device("cpu"), Augmentation())
    batches = list(feed.shuffled(("train", "valid"), 20, seed=1, epoch=0))
    expected = [x for split in ("train", "valid") for x, _ in feed.stored(split, 1)]
    assert sorted(x.flatten().tolist() for x in expected) == sorted(
        row.flatten().tolist() for x, _ in batches for row in x
    )
    again = list(feed.shuffled(("train", "valid"), 20, seed=1, epoch=0))
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(batches, again, strict=True))
    valid = {tuple(x.flatten().tolist()) for x, _ in feed.stored("valid", 1)}
    turns = [tuple(x[0].flatten().tolist()) in valid for x, _ in batches]
    assert turns != sorted(turns)


def test_normalised_training_inputs_have_mean_zero_and_deviation_one_and_stored_ones_stay_as_they_are() -> None:
    dataset = Digits()
    stored, _ = next(dataset.batches("train", 256))
    before = stored.copy()
    x, _ = next(Feed(dataset, torch.device("cpu"), Augmentation()).stored("train", 256))
    assert pytest.approx((0.0, 1.0), abs=1e-4) == (x.mean().item(), x.std(correction=0).item())
    assert np.array_equal(before, stored)


def test_float_data_of_the_data_set_is_not_written_to() -> None:
    values = np.ones((4, 64), dtype=np.float32)

    class Floats(Digits):
        def batches(
            self, split: str, batch_size: int, *, seed: int | None = None, epoch: int = 0
        ) -> Iterator[tuple[NDArray[np.generic], NDArray[np.int64]]]:
            yield values, np.zeros(4, dtype=np.int64)

    list(Feed(Floats(flat=True), torch.device("cpu"), Augmentation()).stored("train", 4))
    assert np.array_equal(np.ones((4, 64), dtype=np.float32), values)


def test_a_left_over_of_one_example_is_not_trained_on() -> None:
    sizes: list[int] = []

    class Watches(TwoPaths):
        def forward(self, x_BCHW: Tensor, gates: Gates | None = None) -> Tensor:
            sizes.append(len(x_BCHW))
            return super().forward(x_BCHW)

    options, network = Training(batch_size=50), Watches()
    dataset = Digits(sizes=(("train", 101),))
    list(
        fit(
            network,
            Fixed(),
            OPTIMISERS["sgd"](network.parameters(), options),
            course(options, dataset=dataset),
            range(1),
        )
    )
    assert sizes == [50, 50]


def test_drop_path_grows_linearly_over_the_full_budget() -> None:
    network = TwoPaths()
    network.dropper = DropPath(nn.Identity())
    options = Training(drop_path=0.2)
    optimiser = OPTIMISERS["sgd"](network.parameters(), options)
    rates = [network.dropper.drop_path for _ in fit(network, Fixed(), optimiser, course(options), range(4))]
    assert rates == pytest.approx([0.0, 0.05, 0.1, 0.15])


def test_a_method_learns_before_each_step_and_its_gates_are_run() -> None:
    """A method that asks for a validation batch each step gets one, of that split."""
    learnt: list[tuple[int, int]] = []

    class Alternates(Method):
        def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
            batch = valid()
            assert (train.split, batch.split) == ("train", "valid")
            learnt.append((len(train.y), len(batch.y)))

        def gates(self) -> Gates:
            return {"choice": {"ab"[len(learnt) % 2]: 1.0}}

    network, options, dataset = TwoPaths(), Training(batch_size=100), Digits()
    before = {name: value.clone() for name, value in network.options.state_dict().items()}
    optimiser = OPTIMISERS["sgd"](network.parameters(), options)
    list(fit(network, Alternates(), optimiser, course(options, dataset=dataset), range(1)))
    assert learnt == [(100, 100), (100, 100), (56, 100)]
    assert {"train", "valid"} == set(dataset.passes)
    assert not any(torch.equal(before[name], value) for name, value in network.options.state_dict().items())


def fitted_by(method: Method, dataset: Digits, batch_size: int, train_on: tuple[str, ...] = ("train",)) -> None:
    """An epoch, the second."""
    network, options = TwoPaths(), Training(batch_size=batch_size)
    optimiser = OPTIMISERS["sgd"](network.parameters(), options)
    list(fit(network, method, optimiser, course(options, train_on, dataset), range(1, 2)))


def test_no_batch_of_an_epoch_learns_at_the_rate_of_the_next() -> None:
    """Two splits that end in short batches have 13 + 7 batches, one more than their rows would fill."""
    epochs: list[float] = []

    class Watches(Method):
        def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
            epochs.append(learner.epochs)

    fitted_by(Watches(), Digits(sizes=(("train", 250), ("valid", 130))), 20, ("train", "valid"))
    assert [*(1 + step / 19 for step in range(19)), 1 + 18 / 19] == epochs


class Asks(Method):
    """Asks for a validation batch each step, and notes its size."""

    def __init__(self) -> None:
        super().__init__()
        self.sizes: list[int] = []

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        self.sizes.append(len(valid().y))


def test_a_single_example_to_learn_an_architecture_from_is_refused_and_not_waited_for() -> None:
    with pytest.raises(DataError, match=r"split 'valid' has a single example, .* or use batch_size: 1"):
        fitted_by(Asks(), Digits(sizes=(("train", 4), ("valid", 1))), 2)


@pytest.mark.parametrize(("sizes", "splits"), [((1, 9), ("train",)), ((1, 1), ("train", "valid"))])
def test_single_examples_to_train_on_are_refused_and_not_divided_by(
    sizes: tuple[int, int], splits: tuple[str, ...]
) -> None:
    with pytest.raises(DataError, match=rf"split '{'.'.join(splits)}' has a single example, .* use batch_size: 1"):
        fitted_by(Method(), Digits(sizes=tuple(zip(("train", "valid"), sizes, strict=True))), 2, splits)


def test_a_single_example_is_a_batch_where_one_is_asked_for() -> None:
    method = Asks()
    fitted_by(method, Digits(sizes=(("train", 4), ("valid", 1))), 1)
    assert [1, 1, 1, 1] == method.sizes


def test_a_method_that_asks_for_no_validation_batch_costs_none() -> None:
    dataset = Digits()
    options = Training(batch_size=100)
    optimiser = OPTIMISERS["sgd"]((network := TwoPaths()).parameters(), options)
    list(fit(network, Method(), optimiser, course(options, dataset=dataset), range(1)))
    assert ["train"] == dataset.passes


def test_between_epochs_a_method_may_learn_once_more_when_all_of_the_epoch_is_behind() -> None:
    epochs: list[float] = []

    class Between(Method):
        def finish_epoch(self, learner: Learner, valid: Valid) -> None:
            epochs.append(learner.epochs)
            assert (learner.horizon, learner.clip_norm) == (4, 5.0)

    options = Training(batch_size=100)
    optimiser = OPTIMISERS["sgd"]((network := TwoPaths()).parameters(), options)
    list(fit(network, Between(), optimiser, course(options), range(2)))
    assert [1, 2] == epochs
