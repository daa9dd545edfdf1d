"""Windows of a text: every target once, each column going on where it ended, lengths by (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from spark_nas.errors import DataError, JobError, OptionError
from spark_nas.evaluation import text_feed as module
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.feed import Batches, Feed
from spark_nas.evaluation.text_feed import TextFeed, is_text
from spark_nas.evaluation.training import Training
from spark_nas.search.records import Job, Trial
from spark_nas.spaces.darts_rnn import DartsRnn
from tests.evaluation.training_support import Digits, MemoryWorkspace

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Numbers:
    """A text whose tokens are their own positions; `valid` goes on where `train` has ended."""

    train: int = 100
    valid: int = 40

    @property
    def input_shape(self) -> tuple[int, ...]:
        return ()

    @property
    def classes(self) -> int:
        return self.train + self.valid

    def rows(self, split: str) -> int:
        return int(getattr(self, split))

    def tokens(self, split: str) -> NDArray[np.int32]:
        start = 0 if split == "train" else self.train
        tokens = np.arange(start, start + self.rows(split), dtype=np.int32)
        tokens.flags.writeable = False
        return tokens


def columns(batches: Iterator[tuple[Tensor, Tensor]], width: int) -> tuple[Tensor, Tensor]:
    """All inputs and all targets of a pass, [T, B] each."""
    xs, ys = zip(*batches, strict=True)
    return torch.cat(xs), torch.cat([y.reshape(-1, width) for y in ys])


sizes = st.integers(2, 300).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(1, rows // 2)))


@given(sizes, st.integers(1, 50))
def test_a_stored_pass_has_every_target_once_but_the_first_of_each_column(size: tuple[int, int], bptt: int) -> None:
    rows, width = size
    feed = TextFeed(Numbers(rows), CPU, bptt)
    batches = list(feed.stored("train", width))
    length = rows // width
    expected = np.arange(length * width).reshape(width, length)
    x_TB, y_TB = columns(iter(batches), width)
    assert expected[:, :-1].T.tolist() == x_TB.tolist()
    assert expected[:, 1:].T.tolist() == y_TB.tolist()
    assert [bptt] * (len(batches) - 1) == [len(x) for x, _ in batches[:-1]]
    assert feed.steps(("train",), width) == len(batches)


@given(sizes, st.integers(1, 50), st.booleans(), st.integers(0, 3))
def test_a_training_epoch_is_the_stored_text_however_it_is_cut(
    size: tuple[int, int], bptt: int, variable: bool, epoch: int
) -> None:
    rows, width = size
    stored = columns(TextFeed(Numbers(rows), CPU, bptt).stored("train", width), width)
    trained = columns(TextFeed(Numbers(rows), CPU, bptt, variable).shuffled(("train",), width, 1, epoch), width)
    assert all(torch.equal(a, b) for a, b in zip(stored, trained, strict=True))


def test_a_batch_is_tokens_time_first_and_its_targets_flattened_the_same_way() -> None:
    x, y = next(TextFeed(Numbers(12), CPU, bptt=2).stored("train", 3))
    assert [[0, 4, 8], [1, 5, 9]] == x.tolist()
    assert [1, 5, 9, 2, 6, 10] == y.tolist()
    assert (torch.int64, torch.int64) == (x.dtype, y.dtype)


def lengths(feed: TextFeed, seed: int, epoch: int) -> list[int]:
    return [len(x) for x, _ in feed.shuffled(("train",), 1, seed, epoch)]


def test_variable_windows_follow_seed_and_epoch_alone() -> None:
    feed, longer = TextFeed(Numbers(5000), CPU, variable=True), TextFeed(Numbers(9000), CPU, variable=True)
    assert lengths(feed, 1, 2) == lengths(feed, 1, 2)
    assert lengths(feed, 1, 2)[:-1] == lengths(longer, 1, 2)[: len(lengths(feed, 1, 2)) - 1]
    assert 4 == len({tuple(lengths(feed, seed, epoch)) for seed in (1, 2) for epoch in (0, 1)})


def test_variable_windows_are_those_of_awd_lstm() -> None:
    """19 of 20 are normal around 35, the rest around 17.5, with deviation 5; cut to whole tokens, which takes 1/2."""
    drawn = np.array(lengths(TextFeed(Numbers(1_000_000), CPU, variable=True), 1, 0)[:-1])
    mean = 0.95 * 35 + 0.05 * 17.5 - 0.5
    deviation = np.sqrt(25 + 1 / 12 + 0.95 * 0.05 * 17.5**2)
    assert abs(drawn.mean() - mean) < 5 * deviation / np.sqrt(len(drawn))
    assert abs((drawn < 26).mean() - 0.0819) < 0.008  # 0.95 Φ((26 - 35) / 5) + 0.05 Φ((26 - 17.5) / 5)
    assert drawn.min() >= 5
    assert drawn.max() <= 55


def test_variable_windows_are_never_too_short_nor_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DEVIATION", 50.0)
    drawn = lengths(TextFeed(Numbers(20_000), CPU, bptt=30, variable=True), 1, 0)[:-1]
    assert (5, 50) == (min(drawn), max(drawn))


def test_splits_that_are_trained_on_together_are_one_text() -> None:
    feed = TextFeed(Numbers(100, 40), CPU, bptt=10)
    x_TB, y_TB = columns(feed.shuffled(("train", "valid"), 4, 1, 0), 4)
    assert np.arange(140).reshape(4, 35)[:, :-1].T.tolist() == x_TB.tolist()
    assert np.arange(140).reshape(4, 35)[:, 1:].T.tolist() == y_TB.tolist()
    assert (140, 4) == (feed.rows(("train", "valid")), feed.steps(("train", "valid"), 4))


def test_a_window_learns_by_its_length() -> None:
    feed = TextFeed(Numbers(72), CPU, bptt=35)
    assert [1.0, 1.0, 1 / 35] == [feed.share(x) for x, _ in feed.stored("train", 1)]


def test_the_text_itself_is_never_handed_out() -> None:
    feed = TextFeed(Numbers(72), CPU)
    expected = [x.tolist() for x, _ in feed.stored("train", 2)]
    for x, y in feed.stored("train", 2):
        x.zero_()
        y.zero_()
    assert expected == [x.tolist() for x, _ in feed.stored("train", 2)]


@pytest.mark.parametrize("ask", ["stored", "shuffled", "steps"])
def test_a_text_too_short_for_its_columns_is_refused_in_one_line(ask: str) -> None:
    feed = TextFeed(Numbers(9, 4), CPU)
    asked = {
        "stored": lambda: feed.stored("train", 5),
        "shuffled": lambda: feed.shuffled(("train",), 5, 1, 0),
        "steps": lambda: feed.steps(("train",), 5),
    }
    said = r"split 'train' has 9 tokens, too few for 5 columns of at least 2: choose a batch size .* of at most 4$"
    with pytest.raises(DataError, match=said) as caught:
        asked[ask]()
    assert 1 == len(str(caught.value).splitlines())


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="bptt must be at least 1, got 0"):
        TextFeed(Numbers(), CPU, bptt=0)
    with pytest.raises(OptionError, match="bptt: 0: must be at least 1"):
        Training(bptt=0)


def test_a_recipe_may_set_the_windows() -> None:
    options = Training().with_recipe({"bptt": 70, "variable_bptt": True})
    assert (35, False, 70, True) == (Training().bptt, Training().variable_bptt, options.bptt, options.variable_bptt)


def test_a_text_is_told_by_its_examples_having_no_shape() -> None:
    assert is_text(Numbers())
    assert not is_text(Digits())


def test_images_learn_at_the_full_rate_in_as_many_steps_as_there_are_batches() -> None:
    feed: Batches = Feed(Digits(), CPU, Augmentation(0, False, 0))
    for batch_size in (64, 100, 256, 300):
        batches = list(feed.shuffled(("train",), batch_size, 1, 0))
        assert len(batches) == feed.steps(("train",), batch_size)
        assert {1.0} == {feed.share(x) for x, _ in batches}


def test_a_recipe_cannot_cut_a_text_into_groups() -> None:
    trial = Trial(0, DartsRnn(nodes=1).build().sample(Random(1)), {"ghost_batch": 4})
    evaluator = Training(bptt=4, batch_size=2).build(DartsRnn(hidden=4, nodes=1).build(), Numbers(), 1)
    with pytest.raises(JobError, match="ghost_batch: 4: a text's windows are not cut into groups"):
        evaluator.evaluate(Job(trial, 0, 1), MemoryWorkspace())
