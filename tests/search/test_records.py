"""A wrong record cannot exist."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime

import pytest

from spark_nas.search.records import (
    SUPERNET,
    Architecture,
    Job,
    JobKey,
    Proposal,
    Result,
    Trial,
    best_first,
    derive_seed,
    incumbent,
)
from spark_nas.search.samplers.listed import Listed

TRIAL = Trial(3, Architecture({"a": "x"}), {"b": 1, "a": 2.5}, seed=7, bracket=1)
JOB = Job(TRIAL, 1, 9, JobKey(3, 0))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Trial(-1, SUPERNET),
        lambda: Trial(0, SUPERNET, bracket=-1),
        lambda: Job(TRIAL, -1, 9),
        lambda: Job(TRIAL, 0, -1),
        lambda: Job(TRIAL, 1, 9, JobKey(3, 1)),
        lambda: Result(JOB, "completed", 0.5, error="but why"),
        lambda: Result(JOB, "failed"),
        lambda: Result(JOB, "lost", error=""),
        lambda: Result(JOB, "completed", 0.5, started_at=datetime(2026, 1, 1)),
    ],
)
def test_a_contradictory_record_is_refused(wrong: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        wrong()


def test_a_recipe_is_sorted_and_cannot_be_changed() -> None:
    assert list(TRIAL.recipe) == ["a", "b"]
    with pytest.raises(TypeError):
        TRIAL.recipe["a"] = 3  # type: ignore[index]


def test_records_travel_by_pickle_and_hash_alike() -> None:
    again = pickle.loads(pickle.dumps(JOB))
    assert (again, hash(again.trial)) == (JOB, hash(TRIAL))


@pytest.mark.parametrize(("loss", "usable"), [(0.5, True), (float("nan"), False), (float("inf"), False)])
def test_only_a_completed_finite_loss_is_usable(loss: float, usable: bool) -> None:
    assert Result(JOB, "completed", loss).usable is usable
    assert not Result(JOB, "failed", loss, error="no").usable


def result(trial_id: int, rung: int, resource: int, loss: float, open_choices: float = 0) -> Result:
    return Result(
        Job(Trial(trial_id, SUPERNET), rung, resource), "completed", loss, {"open_choices": open_choices}
    )  # fmt: skip


def test_the_incumbent_is_no_supernet_and_the_best_of_the_highest_resource_else_of_the_last_scores() -> None:
    supernet = result(0, 0, 4, 0.01, open_choices=6)
    scored, final = result(1, 0, 0, 0.1), result(2, 1, 0, 0.3)
    short, worse, trained, twin = result(4, 0, 1, 0.2), result(5, 0, 2, 0.6), result(6, 0, 2, 0.5), result(7, 0, 2, 0.5)
    unusable = result(3, 0, 9, float("nan"))
    rows = [supernet, scored, final, unusable, short, worse, twin, trained]
    # as each comes, in this order
    assert [incumbent(rows[: n + 1]) for n in range(len(rows))] == [
        None, scored, final, final, short, worse, twin, trained
    ]  # fmt: skip
    ranked = sorted([row for row in rows if row is not unusable], key=best_first)
    assert ranked == [trained, twin, worse, short, final, scored, supernet]


def test_derived_seeds_are_positive_reproducible_and_distinct() -> None:
    seeds = [derive_seed(1, "trial", n) for n in range(1000)]
    assert seeds == [derive_seed(1, "trial", n) for n in range(1000)]
    assert len(set(seeds)) == 1000
    assert min(seeds) > 0
    assert max(seeds) < 2**31
    assert derive_seed(1, "23") != derive_seed(12, "3")


def test_listed_proposals_are_suggested_once_each_in_order() -> None:
    proposals = (Proposal(Architecture({"a": "x"})), Proposal(Architecture({"a": "y"})))
    sampler = Listed(proposals).build(None, None, 1)
    sampler.observe(Result(JOB, "failed", error="ignored"))
    assert (sampler.suggest(), sampler.suggest(), sampler.suggest()) == (*proposals, None)
