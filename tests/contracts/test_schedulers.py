"""The laws of `protocols.Scheduler`, held by every scheduler with every sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.one_shot import OneShot
from spark_nas.search.schedulers.stopping import StoppingAsha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from tests.strategies import PlainRecipes, judge, plain_space, search


class Options(Protocol):
    """What an experiment file says of a scheduler."""

    def build(self, sampler: Sampler, seed: int) -> Scheduler: ...


SCHEDULERS: dict[str, Options] = {
    "full training": FullTraining(30, 9),
    "full training, endless": FullTraining(None, 9),
    "successive halving": SuccessiveHalving(27, 1, 9, 3),
    "successive halving, overlapping": SuccessiveHalving(12, 1, 9, 3, brackets=4, overlap=True),
    "successive halving, endless": SuccessiveHalving(9, 1, 9, 3, brackets=None, overlap=True),
    "hyperband": Hyperband(27, 3),
    "hyperband of the table": Hyperband(27, 3, rounding="jmlr_table", iterations=2),
    "hyperband, overlapping": Hyperband(9, 3, iterations=None, overlap=True),
    "asha": Asha(max_resource=27, eta=3, trials=60),
    "asha, endless": Asha(max_resource=27, eta=3, early_stopping_rate=1),
    "asha, best value": Asha(max_resource=27, eta=3, trials=60, value="best", failures="exclude"),
    "asha, pushed": Asha(max_resource=27, eta=3, trials=60, decision="push", min_rung_size=5),
    "asha, first full model": Asha(max_resource=9, eta=3, stop_at_first=True),
    "asha, stopping": StoppingAsha(max_resource=27, eta=3, trials=60),
    "asha, stopping, first go on": StoppingAsha(max_resource=27, eta=3, first_arrivals="continue"),
    **{
        f"asynchronous hyperband, {allocation}": AsynchronousHyperband(
            max_resource=27, eta=3, trials=70, allocation=allocation
        )
        for allocation in ("shares", "proportional", "round_robin", "smallest_floor", "exponential")
    },
    "one-shot": OneShot(FullTraining(3, 9), candidates=4, groups=2, finalists=2),
    "one-shot, retrained": OneShot(
        Asha(max_resource=9, eta=3, trials=9), scored=2, candidates=5, retrain=SuccessiveHalving(3, 9, 27, 3), winners=2
    ),
    "asynchronous hyperband, endless": AsynchronousHyperband(max_resource=27, eta=3, mode="standard"),
    "asynchronous hyperband, first full model": AsynchronousHyperband(max_resource=9, eta=3, stop_at_first=True),
}


class Patient:
    """Proposes three, then waits until all three are observed: what evolution does between its generations."""

    def __init__(self, inner: Sampler) -> None:
        self._inner, self._pending = inner, 0

    def suggest(self):
        if self._pending == 3 or (proposal := self._inner.suggest()) is None:
            return None
        self._pending += 1
        return proposal

    def observe(self, result: Result) -> None:
        self._inner.observe(result)
        if result.job.rung == 0:
            self._pending -= 1


def random(sizes: tuple[int, ...] = (4, 4, 4), *, replacement: bool = False) -> Sampler:
    return RandomSearch(replacement=replacement, max_attempts=20).build(
        plain_space(*sizes), PlainRecipes((0.1, 1.0)), 5
    )


def listed() -> Sampler:
    source = random()
    return ListedSampler([proposal for _ in range(21) if (proposal := source.suggest())])


SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "random": random,
    "random with replacement": lambda: random(replacement=True),
    "random, exhausted after 16": lambda: random((2, 4)),
    "listed": listed,
    "patient": lambda: Patient(random()),
    "nothing": lambda: ListedSampler([]),
}


@pytest.fixture(params=SCHEDULERS)
def options(request: pytest.FixtureRequest):
    return SCHEDULERS[request.param]


@pytest.fixture(params=SAMPLERS)
def make(request: pytest.FixtureRequest, options: Options) -> Callable[[], Scheduler]:
    return lambda: options.build(SAMPLERS[request.param](), seed=3)


def test_a_search_ends_or_goes_on_for_as_long_as_it_is_asked(make: Callable[[], Scheduler]):
    history = search(make(), judge(1), slots=4, seed=1)
    assert history.idle or len(history.jobs) == 400


def test_no_job_is_issued_twice(make: Callable[[], Scheduler]):
    jobs = search(make(), judge(1, 0.3), slots=5, seed=2).jobs
    assert len({job.key for job in jobs}) == len(jobs)


def test_asking_in_portions_equals_asking_at_once(make: Callable[[], Scheduler]):
    whole, portions = make(), make()
    for _ in range(12):
        jobs = whole.ask(5)
        assert portions.ask(2) + portions.ask(3) == jobs
        for job in jobs:
            whole.tell(judge(1, 0.3)(job))
            portions.tell(judge(1, 0.3)(job))


def test_a_job_starts_from_a_completed_one_and_trains_longer(make: Callable[[], Scheduler]):
    scheduler, jobs = make(), {}
    completed = set()

    def result(job: Job):
        score = job.resource == 0  # with the weights of another trial, a supernet, at every rung
        assert job.start_from is None if job.rung == 0 and not score else job.start_from in completed
        if job.start_from is not None and not score:
            assert job.start_from == (job.trial.trial_id, job.rung - 1)
            assert jobs[job.start_from].resource < job.resource
        jobs[job.key] = job
        outcome = judge(1, 0.3)(job)
        if outcome.usable:
            completed.add(job.key)
        return outcome

    search(scheduler, result, slots=1, seed=1)


def test_no_job_exceeds_the_whole_resource(make: Callable[[], Scheduler]):
    scheduler = make()
    for job in search(scheduler, judge(1), slots=4, seed=1).jobs:
        assert (0 if job.start_from is not None else 1) <= job.resource <= scheduler.max_resource


def test_the_same_seed_and_results_give_the_same_search(make: Callable[[], Scheduler]):
    one, other = (search(make(), judge(1, 0.2), slots=4, seed=9) for _ in range(2))
    assert repr(one) == repr(other)  # the loss of a failed job is NaN, which is not equal to itself


def test_trials_are_numbered_in_the_order_of_asking_with_seeds_of_their_own(make: Callable[[], Scheduler]):
    jobs = search(make(), judge(1), slots=4, seed=1).jobs
    firsts = [job.trial for job in jobs if job.rung == 0]
    assert [trial.trial_id for trial in firsts] == list(range(len(firsts)))
    trained = [job.trial for job in jobs if job.rung == 0 and job.start_from is None]  # scores have their supernet's
    assert len({trial.seed for trial in trained}) == len(trained)


@pytest.mark.parametrize("cut", [0.0, 0.13, 0.5, 0.87, 1.0])
def test_a_search_replayed_up_to_any_cut_goes_on_as_if_nothing_had_happened(make: Callable[[], Scheduler], cut: float):
    history = search(make(), judge(1, 0.3), slots=4, seed=6, most=150)
    upto = int(cut * len(history.rows))
    replayed, jobs = make(), []
    for result, asked in history.rows[:upto]:
        jobs += replayed.ask(asked - len(jobs))
        replayed.tell(result)
    for result, asked in history.rows[upto:]:
        jobs += replayed.ask(asked - len(jobs))
        replayed.tell(result)
    assert jobs == history.jobs
    if history.idle:
        assert replayed.ask(10) == []


def test_trials_that_failed_or_diverged_never_go_on(make: Callable[[], Scheduler]):
    history = search(make(), judge(4, 0.3), slots=6, seed=3)
    usable = {row.job.key for row, _ in history.rows if row.usable}
    assert {job.start_from for job in history.jobs if job.rung} <= usable


def test_a_search_in_which_everything_fails_promotes_nothing(make: Callable[[], Scheduler]):
    assert all(job.rung == 0 for job in search(make(), judge(1, 1.0), slots=4, seed=1).jobs)


def test_a_result_nobody_asked_for_is_refused(make: Callable[[], Scheduler], options: Options):
    other = options.build(random(), seed=99)
    (job, *_) = other.ask(1)
    with pytest.raises(ValueError, match=r"in flight|differs"):
        make().tell(judge(1)(job))


def test_a_result_is_taken_once(make: Callable[[], Scheduler]):
    scheduler = make()
    for job in scheduler.ask(1):
        scheduler.tell(judge(1)(job))
        with pytest.raises(ValueError, match="told before"):
            scheduler.tell(judge(1)(job))


def test_a_lost_result_is_refused_and_may_still_be_told_later(make: Callable[[], Scheduler]):
    scheduler = make()
    for job in scheduler.ask(1):
        with pytest.raises(ValueError, match="lost"):
            scheduler.tell(Result(job, "lost", error="executor gone"))
        scheduler.tell(judge(1)(job))


class Watched:
    """Passes everything on, and looks at `needed` after every step: what it once leaves out must never come back."""

    def __init__(self, inner: Scheduler) -> None:
        self.inner, self.told, self.dropped = inner, set[JobKey](), set[JobKey]()
        self.flying: dict[JobKey, Job] = {}

    def ask(self, limit: int) -> list[Job]:
        jobs = self.inner.ask(limit)
        assert not {job.start_from for job in jobs} & self.dropped
        self.flying |= {job.key: job for job in jobs}
        self.look()
        return jobs

    def tell(self, result: Result) -> None:
        self.inner.tell(result)
        del self.flying[result.job.key]
        if result.usable:
            self.told.add(result.job.key)
        self.look()

    def look(self) -> None:
        needed = self.inner.needed()
        assert {job.start_from for job in self.flying.values() if job.start_from} <= needed <= self.told
        assert not needed & self.dropped
        self.dropped |= self.told - needed


@pytest.mark.parametrize(("slots", "seed", "failures"), [(1, 1, 0.0), (4, 2, 0.3), (9, 3, 0.1)])
def test_no_job_ever_starts_from_what_was_not_needed(
    make: Callable[[], Scheduler], slots: int, seed: int, failures: float
):
    watched = Watched(make())
    history = search(watched, judge(seed, failures), slots=slots, seed=seed, most=150)
    if history.idle:  # the end: nothing can be promoted any more
        assert watched.inner.needed() == set()
        assert watched.dropped == watched.told
