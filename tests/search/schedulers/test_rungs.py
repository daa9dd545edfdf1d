"""A rung answers as a plain sort would."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from spark_nas.search.records import SUPERNET, CurvePoint, Job, Result, Trial
from spark_nas.search.schedulers.rungs import Rung, best_loss, ranked, usable_loss
from tests.strategies import losses


def sort_key(entry: tuple[float, int]):
    return entry[0], entry[1]


@given(st.lists(losses(), max_size=60), st.integers(2, 4), st.data())
def test_a_rung_promotes_as_a_sort_at_every_question_would(values: list[float], eta: int, data: st.DataObject):
    rung, reported, promoted = Rung(eta), [], set()
    for number, value in enumerate(values):
        loss = value if math.isfinite(value) else math.inf
        reported.append((loss, number))
        rung.add(Trial(number, SUPERNET), loss)
        while data.draw(st.booleans()):
            best = sorted(reported, key=sort_key)[: len(reported) // eta]
            expected = next((n for loss, n in best if n not in promoted and loss < math.inf), None)
            trial = rung.promotable()
            assert (None if trial is None else trial.trial_id) == expected
            if trial is None:
                break
            rung.promote(trial)
            promoted.add(trial.trial_id)


@given(st.lists(losses(unusable=False), min_size=1, max_size=40), st.integers(2, 4))
def test_a_newcomer_is_told_whether_it_is_among_the_best(values: list[float], eta: int):
    rung = Rung(eta)
    for number, loss in enumerate(values):
        among = rung.add(Trial(number, SUPERNET), loss)
        best = sorted((value, n) for n, value in enumerate(values[: number + 1]))[: (number + 1) // eta]
        assert among == ((loss, number) in best)


@given(st.lists(losses(unusable=False), min_size=4, max_size=40), st.integers(2, 4))
def test_the_trial_at_the_cut_is_the_worst_of_the_best(values: list[float], eta: int):
    rung = Rung(eta)
    for number, loss in enumerate(values):
        rung.add(Trial(number, SUPERNET), loss)
    assert rung.at_the_cut().trial_id == sorted((value, n) for n, value in enumerate(values))[len(values) // eta - 1][1]


def test_equal_losses_go_on_in_the_order_of_arrival():
    rung = Rung(2)
    for number in (7, 3, 5, 1):
        rung.add(Trial(number, SUPERNET), 0.5)
    order = []
    while (trial := rung.promotable()) is not None:
        rung.promote(trial)
        order.append(trial.trial_id)
    assert order == [7, 3]


def test_a_rung_that_is_too_small_promotes_nothing():
    rung = Rung(2, min_size=4)
    counts = []
    for number in range(4):
        rung.add(Trial(number, SUPERNET), float(number))
        counts.append(rung.promotable() is not None)
    assert counts == [False, False, False, True]


def test_an_empty_quota_has_no_cut():
    assert Rung(3).at_the_cut() is None


def test_what_failed_or_diverged_ranks_last():
    job = Job(Trial(0, SUPERNET), 0, 1)
    unusable = [Result(job, "completed", value) for value in (math.nan, math.inf, -math.inf)]
    assert [usable_loss(result) for result in unusable] == [math.inf] * 3
    assert usable_loss(Result(job, "failed", 0.1, error="no")) == math.inf


def test_the_best_loss_so_far_looks_at_curves_and_at_earlier_rungs():
    curve = (CurvePoint(1, 0.4), CurvePoint(2, math.nan), CurvePoint(3, 0.6))
    result = Result(Job(Trial(0, SUPERNET), 0, 3), "completed", 0.6, curve=curve)
    assert (best_loss(result), best_loss(result, 0.3)) == (0.4, 0.3)


def test_ranks_do_not_depend_on_the_order_of_results():
    entries = [
        (0.5, Trial(2, SUPERNET)),
        (0.5, Trial(1, SUPERNET)),
        (math.inf, Trial(0, SUPERNET)),
        (0.1, Trial(3, SUPERNET)),
    ]
    assert [trial.trial_id for trial in ranked(entries)] == [3, 1, 2] == [t.trial_id for t in ranked(entries[::-1])]
