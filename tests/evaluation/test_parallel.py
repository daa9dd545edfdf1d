"""Laws of training by two processes: it is the training of one, to the rounding of floats, and both end the same."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spark_nas.errors import JobError
from spark_nas.evaluation import group, parallel
from spark_nas.evaluation.oneshot.darts import Darts
from spark_nas.evaluation.oneshot.enas import Enas
from spark_nas.evaluation.oneshot.gaea import Gaea
from spark_nas.evaluation.oneshot.gdas import Gdas
from spark_nas.evaluation.oneshot.one_shot import OneShotPaths
from spark_nas.evaluation.oneshot.protocol import Batch, MethodOptions
from spark_nas.evaluation.oneshot.proxyless import Proxyless
from spark_nas.evaluation.oneshot.random_sharing import RandomSharing
from spark_nas.evaluation.oneshot.snas import Snas
from spark_nas.evaluation.training import Training
from spark_nas.search.records import Architecture, Job, Trial
from spark_nas.spaces.darts import Darts as CellSpace
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.contracts.supernets import Search
from tests.evaluation.pair import Pair, pair
from tests.evaluation.supernets_in_parallel import evaluated, gone_apart, job, left_alone, of_texts, searched
from tests.evaluation.training_support import Digits, MemoryWorkspace, evaluator

pytestmark = pytest.mark.slow

PROXYLESS = partial(Proxyless, warmup_epochs=0.0, interval=1)
METHODS: dict[str, MethodOptions] = {
    "random_sharing": RandomSharing(),
    "one_shot": OneShotPaths(),
    "darts": Darts(learning_rate=0.01, hessian=True),
    "darts, second order": Darts(learning_rate=0.01, order=2, clip_unrolled=True),
    "gaea": Gaea(),
    "gaea, single level": Gaea(bilevel=False),
    "gdas": Gdas(learning_rate=0.01),
    "snas": Snas(learning_rate=0.01),
    "proxyless": PROXYLESS(),
    "proxyless, two paths": PROXYLESS(mode="two"),
    "proxyless, reinforce": PROXYLESS(form="reinforce", samples=3),
    "enas": Enas(hidden=8, controller_steps=2, aggregate=3, derived=3),
}


@pytest.fixture(scope="module")
def two() -> Iterator[Pair]:
    with pair() as running:
        yield running


def close(actual: Any, expected: Any) -> None:  # noqa: ANN401 - nested mappings, sequences and tensors
    torch.testing.assert_close(actual, expected, rtol=1e-3, atol=2e-5)


def numbers(state: Any) -> Any:  # noqa: ANN401
    """What can be compared of a state: Adam's settings are no numbers."""
    if isinstance(state, dict):
        return {key: numbers(value) for key, value in state.items() if key != "param_groups"}
    return state


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_what_one_would_whatever_the_method(two: Pair, name: str) -> None:
    mine, theirs = two.run(searched, METHODS[name])
    expected_state, expected_measured, expected_gradients = searched(None, METHODS[name])
    state, measured, gradients = mine
    close(numbers(state), numbers(expected_state))
    assert [tuple(m) for m in map(_pair, measured)] == [pytest.approx(_pair(m), rel=1e-4) for m in expected_measured]
    assert {n for n, g in gradients.items() if g is None} == {n for n, g in expected_gradients.items() if g is None}
    close(
        {n: g for n, g in gradients.items() if g is not None},
        {n: g for n, g in expected_gradients.items() if g is not None},
    )
    torch.testing.assert_close(numbers(theirs[0]), numbers(state), rtol=0, atol=0)
    assert theirs[1] == measured


def _pair(measured: Any) -> tuple[float, float]:  # noqa: ANN401
    return measured.loss, measured.error


def test_weights_off_the_path_have_no_gradient_in_either_process(two: Pair) -> None:
    for _, _, gradients in two.run(searched, RandomSharing()):
        assert any(gradient is None for gradient in gradients.values())


def test_a_training_of_one_process_is_gone_on_with_by_two(two: Pair) -> None:
    method = Gaea()
    _, checkpoint, _ = evaluated(None, method, job(1), None)
    (outcome, saved, _), (same, twin, _) = two.run(evaluated, method, job(3, start=1), checkpoint)
    expected, _, _ = evaluated(None, method, job(3, start=1), checkpoint)
    assert [point.resource for point in outcome.curve] == [2, 3]
    assert outcome.loss == pytest.approx(expected.loss, rel=1e-4)
    assert (same, twin) == (outcome, saved)


def test_an_attempt_of_two_processes_goes_on_bitwise_where_the_last_one_was_kept(two: Pair) -> None:
    method = Darts()
    (whole, saved, kept), _ = two.run(evaluated, method, job(3), None)
    (outcome, again, _), _ = two.run(evaluated, method, job(3), None, kept[0])
    assert (outcome, again) == (whole, saved)


def test_processes_on_different_paths_are_told_so_and_do_not_mix_their_weights(two: Pair) -> None:
    for answer in two.run(gone_apart):
        assert isinstance(answer, JobError)
        assert "different paths" in str(answer)


def test_a_process_whose_peer_is_gone_says_so(two: Pair) -> None:
    mine, theirs = two.run(left_alone)
    assert isinstance(theirs, MemoryError)
    assert isinstance(mine, ConnectionError)


def test_texts_are_shared_by_columns_and_put_together_in_their_order(two: Pair) -> None:
    mine, theirs = two.run(of_texts)
    close(mine, of_texts(None))
    close(theirs, mine)


def test_the_first_process_hands_on_bytes_and_nothing(two: Pair) -> None:
    for content in (b"\x00\x01content", b"", None):
        assert two.run(_from_first, content) == (content, content)


def _from_first(peers: group.Peers, content: bytes | None) -> bytes | None:
    return group.from_first(content if peers.rank == 0 else b"other")


def test_peers_hear_what_was_said_last_and_notice_silence(two: Pair) -> None:
    assert two.run(_talk) == ((0, 2, "second", None), (1, 2, "second", None))


def _talk(peers: group.Peers) -> tuple[int, int, str | None, str | None]:
    silent = peers.hear(7, seconds=0.01)
    peers.tell("first")
    peers.tell("second")
    group.sums(1.0)  # both have spoken
    return peers.rank, peers.size, peers.hear(1 - peers.rank, seconds=10), silent


def test_what_cannot_be_shared_equally_is_left_out_and_said(two: Pair, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        # Batches of 5: four examples of the first two; of the last, of three, a share would be a single one.
        assert two.run(_shares, 13, 5) == ([[0, 1], [5, 6]], [[2, 3], [7, 8]])
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "5 examples of this pass train nothing: 2 processes take equal shares")
    ]


def test_single_examples_are_shares_where_batches_are_of_as_many_as_processes(two: Pair) -> None:
    assert two.run(_shares, 4, 2) == ([[0], [2]], [[1], [3]])


def test_batches_of_as_many_examples_as_processes_train_as_batches_of_one_do(two: Pair) -> None:
    assert two.run(_trained_by_twos) == (4, 4)


def _trained_by_twos(peers: group.Peers) -> int:
    data = Digits(sizes=(("train", 4), ("valid", 4)))
    task = evaluator(Training(batch_size=2), data)
    return len(task.evaluate(Job(Trial(0, Architecture()), 0, 4), MemoryWorkspace()).curve)


def test_more_processes_than_examples_are_refused(two: Pair) -> None:
    for answer in two.run(_shares, 3, 1):
        assert isinstance(answer, JobError)
        assert "larger batch_size" in str(answer)


def _shares(peers: group.Peers, rows: int, batch_size: int) -> list[list[int]]:
    x, y = torch.arange(float(rows))[:, None], torch.arange(rows)
    batches = zip(x.split(batch_size), y.split(batch_size), strict=True)
    return [parallel.share(Batch(*batch)).y.tolist() for batch in parallel.even(batches, batch_size)]


def test_sequences_are_measured_by_each_process_and_other_batches_by_one(two: Pair) -> None:
    assert two.run(_dealt) == (([0, 2], [0, 1, 2]), ([1], [0, 1, 2]))


def _dealt(peers: group.Peers) -> tuple[list[int], list[int]]:
    return tuple([b for ours, b in group.dealt(range(3), sequence=s) if ours] for s in (False, True))  # type: ignore[return-value]


def test_running_statistics_are_averaged(two: Pair) -> None:
    mine, theirs = two.run(_statistics)
    assert mine == theirs == [0.5, 1.5]


def _statistics(peers: group.Peers) -> list[float]:
    norm = nn.BatchNorm1d(1)
    torch.nn.init.constant_(norm.running_mean, peers.rank)  # type: ignore[arg-type]
    torch.nn.init.constant_(norm.running_var, 1.0 + peers.rank)  # type: ignore[arg-type]
    parallel.average_statistics(nn.Sequential(norm, nn.BatchNorm1d(1, track_running_stats=False)))
    parallel.average_statistics(nn.Linear(1, 1))  # none to average
    return [float(statistic) for statistic in (norm.running_mean, norm.running_var) if isinstance(statistic, Tensor)]


@pytest.mark.parametrize(
    ("method", "space"),
    [(Gaea(), CellSpace(layers=3, channels=4)), (RandomSharing(), NasBench201(channels=4, cells=1))],
    ids=["darts", "nas_bench_201"],
)
def test_both_processes_end_bitwise_equal_where_batch_norms_see_shares(
    two: Pair, method: MethodOptions, space: CellSpace | NasBench201
) -> None:
    mine, theirs = two.run(_whole_search, method, space)
    assert mine[1] == theirs[1]
    torch.testing.assert_close(numbers(theirs[0]), numbers(mine[0]), rtol=0, atol=0)


def _whole_search(peers: group.Peers, method: MethodOptions, space: CellSpace | NasBench201) -> Any:  # noqa: ANN401
    [(measured, _, snapshot)] = Search.begin(method, space, epochs=1).train(range(1))
    return snapshot, measured
