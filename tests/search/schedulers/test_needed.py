"""Which checkpoints are still needed: never too few (tests/contracts), and here: not for ever too many."""

from __future__ import annotations

import pytest

from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import SUPERNET, Job, JobKey, Proposal, Result
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.stopping import StoppingAsha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving


def sampler(n: int = 1000) -> ListedSampler:
    return ListedSampler([Proposal(SUPERNET)] * n)


def tell(scheduler: Scheduler, jobs: list[Job]) -> None:
    """The higher a trial's number, the worse."""
    for job in jobs:
        scheduler.tell(Result(job, "completed", float(job.trial.trial_id)))


def keys(rung: int, *trials: int) -> set[JobKey]:
    return {JobKey(trial, rung) for trial in trials}


def test_the_losers_of_a_closed_rung_are_let_go():
    scheduler = SuccessiveHalving(9, 1, 9, 3).build(sampler(), 1)
    jobs = scheduler.ask(9)
    tell(scheduler, jobs[:8])
    assert scheduler.needed() == keys(0, *range(8))  # the ninth may be the best or the worst
    tell(scheduler, jobs[8:])
    assert scheduler.needed() == keys(0, 0, 1, 2)
    jobs = scheduler.ask(9)
    assert scheduler.needed() == keys(0, 0, 1, 2)  # in flight: they may be lost, and start again
    tell(scheduler, jobs[:2])
    assert scheduler.needed() == keys(0, 2) | keys(1, 0, 1)
    tell(scheduler, jobs[2:])
    assert scheduler.needed() == keys(1, 0)
    tell(scheduler, scheduler.ask(9))
    assert scheduler.needed() == set()


def test_asha_with_a_last_trial_lets_go_of_whoever_cannot_be_among_the_best_of_all():
    scheduler = Asha(max_resource=9, eta=3, trials=9).build(sampler(), 1)
    tell(scheduler, scheduler.ask(2))
    scheduler.tell(Result(scheduler.ask(1)[0], "failed", error="no"))
    assert scheduler.needed() == keys(0, 0, 1)
    (promoted,) = scheduler.ask(1)
    assert promoted.start_from == (0, 0)
    tell(scheduler, scheduler.ask(6)[::-1])
    # three of nine go on, and trial 0 is one of them
    assert scheduler.needed() == keys(0, 0, 1, 3)


def test_an_endless_asha_needs_all_but_the_promoted_and_the_failed():
    scheduler = Asha(max_resource=9, eta=3).build(sampler(), 1)
    jobs = scheduler.ask(6)
    scheduler.tell(Result(jobs[5], "failed", error="no"))
    tell(scheduler, jobs[:5])
    promoted = scheduler.ask(2)
    assert [job.start_from for job in promoted] == [(0, 0), (1, 0)]
    tell(scheduler, promoted)
    assert scheduler.needed() == keys(0, 2, 3, 4) | keys(1, 0, 1)


def test_brackets_share_the_trials_that_are_still_to_come():
    scheduler = AsynchronousHyperband(max_resource=9, eta=3, trials=12, allocation="round_robin").build(sampler(), 1)
    jobs = scheduler.ask(12)
    tell(scheduler, jobs)
    best = [
        job.key
        for number in {job.trial.bracket for job in jobs}
        for mine in [[job for job in jobs if job.trial.bracket == number]]
        for job in mine[: len(mine) // 3]
        if number < 2  # the last bracket has one rung
    ]
    assert scheduler.needed() == set(best)


def test_the_stopping_variant_needs_those_that_go_on():
    scheduler = StoppingAsha(max_resource=9, eta=3, trials=9).build(sampler(), 1)
    tell(scheduler, scheduler.ask(9)[::-1])
    needed = scheduler.needed()
    assert 0 < len(needed) < 9
    assert {job.start_from for job in scheduler.ask(9)} == needed


def test_full_training_needs_nothing():
    scheduler = FullTraining(3, 9).build(sampler(), 1)
    tell(scheduler, scheduler.ask(3))
    assert scheduler.needed() == set()


def test_what_a_sampler_may_inherit_is_needed_until_it_has_been():
    origin = JobKey(0, 0)
    heirs = [Proposal(SUPERNET), Proposal(SUPERNET, start_from=origin), Proposal(SUPERNET)]
    scheduler = FullTraining(3, 9).build(ListedSampler(heirs), 1)
    tell(scheduler, scheduler.ask(1))
    assert scheduler.needed() == {origin}
    (heir,) = scheduler.ask(1)
    assert (heir.start_from, scheduler.needed()) == (origin, {origin})
    tell(scheduler, [heir])
    assert scheduler.needed() == set()


def test_a_sampler_that_inherits_must_say_what_it_needs():
    class Silent:
        def suggest(self) -> Proposal:
            return Proposal(SUPERNET, start_from=JobKey(0, 0))

        def observe(self, result: Result) -> None: ...

    with pytest.raises(ValueError, match=r"Silent .* needed\(\)"):
        FullTraining(3, 9).build(Silent(), 1).ask(1)


def test_the_first_full_model_ends_all_need():
    scheduler = Asha(max_resource=3, eta=3, stop_at_first=True).build(sampler(), 1)
    tell(scheduler, scheduler.ask(6))
    assert scheduler.needed()
    tell(scheduler, scheduler.ask(1))
    assert scheduler.needed() == set()
