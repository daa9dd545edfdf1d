"""Laws of ASHA and of the stopping variant."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.errors import OptionError
from spark_nas.search.records import SUPERNET, CurvePoint, Job, JobKey, Proposal, Result, Trial
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.rungs import Rung
from spark_nas.search.schedulers.stopping import StoppingAsha
from tests.strategies import PlainRecipes, failed, judge, outcomes, plain_space, search


def sampler():
    return RandomSearch(replacement=True).build(plain_space(5, 5, 5), PlainRecipes(()), 1)


def key(result: Result):
    return result.loss if result.usable else math.inf


def best(reports: list[Result], eta: int):
    """Numbers of the best floor(n / eta), by a plain sort."""
    order = sorted(range(len(reports)), key=lambda i: (key(reports[i]), i))
    return [reports[i].job.trial.trial_id for i in order[: len(reports) // eta] if reports[i].usable]


@given(st.data(), st.integers(2, 4), st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_asha_promotes_top_down_and_only_what_is_in_the_top_1_eta_at_that_moment(
    data: st.DataObject, eta: int, slots: int
):
    scheduler = Asha(max_resource=eta**3, eta=eta).build(sampler(), 1)
    reports, promoted, flying = [[], [], [], []], [set(), set(), set()], []
    for _ in range(60):
        while len(flying) < slots:
            (job,) = scheduler.ask(1)
            flying.append(job)
            candidates = [[n for n in best(reports[k], eta) if n not in promoted[k]] for k in range(3)]
            highest = next((k for k in (2, 1, 0) if candidates[k]), None)
            if highest is None:
                assert job.rung == 0
                continue
            assert job.key == JobKey(candidates[highest][0], highest + 1)
            promoted[highest].add(job.trial.trial_id)
        job = flying.pop(data.draw(st.integers(0, len(flying) - 1)))
        result = data.draw(outcomes(job))
        scheduler.tell(result)
        reports[job.rung].append(result)


def test_a_promotion_from_a_higher_rung_comes_before_one_from_a_lower():
    scheduler = Asha(max_resource=4, eta=2).build(sampler(), 1)
    jobs = scheduler.ask(8)
    for job in jobs[:4]:
        scheduler.tell(Result(job, "completed", 0.5))
    for job in [*scheduler.ask(2), *jobs[4:]]:
        scheduler.tell(Result(job, "completed", 0.1))
    assert [job.rung for job in scheduler.ask(4)] == [2, 1, 1, 1]


@pytest.mark.parametrize("decision", ["pull", "push"])
@pytest.mark.parametrize("seed", range(5))
def test_what_a_rung_promoted_is_reported_or_running_or_queued_above(decision: Literal["pull", "push"], seed: int):
    scheduler = Asha(max_resource=27, eta=3, trials=150, decision=decision).build(sampler(), 1)

    def result(job: Job):
        bracket = scheduler.bracket
        for k in range(3):
            above = bracket.rungs[k + 1].size + bracket.running[k + 1]
            queued = sum(target == k + 1 for _, target in bracket._pushed)
            assert above + queued == len(bracket.rungs[k].promoted)
        return judge(seed, 0.1)(job)

    # One worker: `result` is called between a tell and the next ask only then.
    assert search(scheduler, result, slots=1, seed=seed).idle


def test_a_finite_search_ends_with_nothing_promotable_and_all_rungs_closed():
    scheduler = Asha(max_resource=27, eta=3, trials=100).build(sampler(), 1)
    assert search(scheduler, judge(2, 0.1), slots=8, seed=4).idle
    assert scheduler.closed_rungs == 4
    assert [len(rung.promoted) >= rung.quota for rung in scheduler.bracket.rungs[:-1]] == [True] * 3


def test_rungs_close_from_the_bottom():
    scheduler = Asha(max_resource=4, eta=2, trials=4).build(sampler(), 1)
    jobs = scheduler.ask(4)
    closed = [scheduler.closed_rungs]
    for job in jobs:
        scheduler.tell(Result(job, "completed", float(job.trial.trial_id)))
    closed.append(scheduler.closed_rungs)  # two trials wait to be promoted, so rung 1 is open
    above = scheduler.ask(4)
    closed.append(scheduler.closed_rungs)
    for job in above:
        scheduler.tell(Result(job, "completed", 1.0))
    closed.append(scheduler.closed_rungs)
    (top,) = scheduler.ask(4)
    closed.append(scheduler.closed_rungs)
    scheduler.tell(Result(top, "completed", 1.0))
    assert [*closed, scheduler.closed_rungs] == [0, 1, 1, 2, 2, 3]
    assert scheduler.ask(4) == []


def test_the_first_full_model_needs_no_more_than_a_full_training_with_enough_workers():
    scheduler = Asha(max_resource=64, eta=4).build(sampler(), 1)
    jobs = scheduler.ask(256)
    for job in jobs:
        scheduler.tell(Result(job, "completed", float(job.trial.trial_id)))
    assert [(job.trial.trial_id, job.resource) for job in scheduler.ask(1)] == [(0, 4)]


def told(options: Asha, outcomes: list[float | None]):
    """The promotion that follows when trial i of rung 0 reports outcomes[i], in order; None when it is a new trial."""
    scheduler = options.build(sampler(), 1)
    for job, loss in zip(scheduler.ask(len(outcomes)), outcomes, strict=True):
        scheduler.tell(failed(job) if loss is None else Result(job, "completed", loss))
    (job,) = scheduler.ask(1)
    return job.trial.trial_id if job.rung else None


@pytest.mark.parametrize(("failures", "expected"), [("worst", 3), ("exclude", None)])
def test_failures_count_in_their_rung_unless_excluded(failures: Literal["worst", "exclude"], expected: int | None):
    options = Asha(max_resource=4, eta=4, failures=failures)
    assert told(options, [None, 0.5, 0.6, 0.1]) == expected


def test_the_best_value_so_far_can_rank_instead_of_the_last():
    promoted = {}
    for value in ("last", "best"):
        scheduler = Asha(max_resource=2, eta=2, value=value).build(sampler(), 1)
        first, second = scheduler.ask(2)
        scheduler.tell(Result(first, "completed", 0.9, curve=(CurvePoint(1, 0.1),)))
        scheduler.tell(Result(second, "completed", 0.5))
        promoted[value] = scheduler.ask(1)[0].trial.trial_id
    assert promoted == {"last": 1, "best": 0}


def test_a_push_promotes_the_newcomer_or_else_the_trial_at_the_grown_cut():
    assert told(Asha(max_resource=2, eta=2, decision="push"), [0.2, 0.1]) == 1
    assert told(Asha(max_resource=2, eta=2, decision="push"), [0.1, 0.2]) == 0


def test_a_pull_promotes_the_best_even_where_a_push_let_it_pass():
    losses = [0.1, 0.3, 0.2, 0.05, 0.4, 0.35]
    orders = {}
    for decision in ("pull", "push"):
        scheduler = Asha(max_resource=2, eta=2, decision=decision).build(sampler(), 1)
        for job, loss in zip(scheduler.ask(6), losses, strict=True):
            scheduler.tell(Result(job, "completed", loss))
        orders[decision] = [job.trial.trial_id for job in scheduler.ask(3) if job.rung]
    # Push: 0 at the cut of two; 3 as the best newcomer; then the cut of three is 2.
    assert orders == {"pull": [3, 0, 2], "push": [0, 3, 2]}


def test_a_rung_smaller_than_asked_for_promotes_nothing():
    assert told(Asha(max_resource=2, eta=2, min_rung_size=5), [0.1, 0.2, 0.3, 0.4]) is None
    assert told(Asha(max_resource=2, eta=2, min_rung_size=4), [0.1, 0.2, 0.3, 0.4]) == 0


def test_the_search_may_stop_at_the_first_full_model():
    history = search(Asha(max_resource=9, eta=3, stop_at_first=True).build(sampler(), 1), judge(1), slots=1, seed=1)
    assert history.idle
    assert [row.job.resource == 9 for row, _ in history.rows].count(True) == 1


@pytest.mark.parametrize("eta", [2, 3, 4])
def test_wrong_promotions_grow_like_the_square_root_of_the_reports(eta: int):
    sizes = (64, 256, 1024, 4096)
    wrong, fraction = {n: [] for n in sizes}, []
    trials = [Trial(i, SUPERNET) for i in range(sizes[-1])]
    for seed in range(10):
        rng, rung, losses = Random(seed), Rung(eta), []
        for trial in trials:
            losses.append(rng.random())
            rung.add(trial, losses[-1])
            while (promoted := rung.promotable()) is not None:
                rung.promote(promoted)
            if (n := len(losses)) in wrong:
                top = set(sorted(range(n), key=losses.__getitem__)[: n // eta])
                wrong[n].append(len(rung.promoted - top))
        fraction.append(wrong[sizes[-1]][-1] / len(rung.promoted))
    slope = np.polyfit(np.log(sizes), np.log([np.mean(wrong[n]) for n in sizes]), 1)[0]
    assert 0.45 <= slope <= 0.75
    assert np.mean(fraction) < 0.05


@pytest.mark.parametrize(("policy", "expected"), [("stop", [2]), ("continue", [0, 1, 2])])
def test_the_first_arrivals_at_a_milestone_stop_or_go_on_by_policy(
    policy: Literal["stop", "continue"], expected: list[int]
):
    scheduler = StoppingAsha(max_resource=3, eta=3, first_arrivals=policy).build(sampler(), 1)
    for job, loss in zip(scheduler.ask(3), (0.3, 0.2, 0.1), strict=True):
        scheduler.tell(Result(job, "completed", loss))
    assert [job.trial.trial_id for job in scheduler.ask(3) if job.rung] == expected


def test_a_stopped_trial_gets_no_second_chance():
    scheduler = StoppingAsha(max_resource=2, eta=2, trials=6).build(sampler(), 1)
    for job, loss in zip(scheduler.ask(6), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6), strict=True):
        scheduler.tell(Result(job, "completed", loss))
    assert scheduler.ask(6) == []


def test_a_proposals_checkpoint_is_where_its_first_job_starts():
    origin = Proposal(SUPERNET, start_from=JobKey(4, 1))
    assert Asha().build(ListedSampler([origin]), 1).ask(1)[0].start_from == JobKey(4, 1)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Asha(eta=1), "eta"),
        (lambda: Asha(trials=0), "trials"),
        (lambda: Asha(trials=255), "trials"),
        (lambda: Asha(early_stopping_rate=5), "early_stopping_rate"),
        (lambda: Asha(value="mean"), "value"),
        (lambda: Asha(failures="ignore"), "failures"),
        (lambda: Asha(decision="later"), "decision"),
        (lambda: Asha(min_rung_size=0), "min_rung_size"),
        (lambda: AsynchronousHyperband(min_resource=0), "min_resource"),
        (lambda: AsynchronousHyperband(trials=0), "trials"),
        (lambda: AsynchronousHyperband(max_rungs=0), "max_rungs"),
        (lambda: AsynchronousHyperband(mode="mild"), "mode"),
        (lambda: AsynchronousHyperband(allocation="fair"), "allocation"),
        (lambda: StoppingAsha(trials=0), "trials"),
        (lambda: StoppingAsha(first_arrivals="wait"), "first_arrivals"),
        (lambda: StoppingAsha(max_resource=0), "max_resource"),
    ],
)
def test_an_unusable_asynchronous_option_is_named(make: Callable[[], object], key: str):
    with pytest.raises(OptionError) as error:
        make()
    assert error.value.key == key
