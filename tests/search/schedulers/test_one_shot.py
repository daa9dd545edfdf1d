"""The stages of a one-shot search: which architectures are scored, on how much, and which are retrained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import SUPERNET, Architecture, Job, Proposal, Result
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.one_shot import OneShot
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving

LETTERS = "abcdefghijklmnopqrst"


def letter(name: str) -> Architecture:
    return Architecture({"letter": name})


def sampler(supernets: int = 2) -> ListedSampler:
    """Recipes for supernets come first; their architectures are not used."""
    recipes = [Proposal(letter("z"), {"learning_rate": rate}) for rate in (0.1, 0.2)[:supernets]]
    return ListedSampler([*recipes, *(Proposal(letter(name)) for name in LETTERS)])


def loss(job: Job) -> float:
    """Later letters are better on few batches, earlier ones on the whole split and when trained."""
    if job.trial.architecture == SUPERNET:
        return job.trial.recipe["learning_rate"]
    place = LETTERS.index(job.trial.architecture["letter"]) / len(LETTERS)
    return 1 - place if job.rung == 0 and job.resource == 0 else place


def tell(scheduler: Scheduler, jobs: list[Job], derived: tuple[Architecture, ...] = ()) -> None:
    for job in jobs:
        ours = derived if job.trial.architecture == SUPERNET else ()
        scheduler.tell(Result(job, "completed", loss(job), derived=ours))


def letters(jobs: list[Job]) -> str:
    return "".join(job.trial.architecture["letter"] for job in jobs)


def test_supernets_leave_every_choice_open_and_take_the_samplers_recipes():
    jobs = OneShot(FullTraining(2, 9)).build(sampler(), 1).ask(5)
    assert [SUPERNET, SUPERNET] == [job.trial.architecture for job in jobs]
    assert [0.1, 0.2] == [job.trial.recipe["learning_rate"] for job in jobs]
    assert [9, 9] == [job.resource for job in jobs]


def test_nothing_is_scored_before_all_supernets_are_trained():
    scheduler = OneShot(FullTraining(2, 9), candidates=4).build(sampler(), 1)
    first, second = scheduler.ask(5)
    tell(scheduler, [first])
    assert [] == scheduler.ask(5)
    tell(scheduler, [second])
    assert 5 == len(scheduler.ask(5))


def test_each_group_is_scored_with_the_weights_recipe_and_seed_of_its_supernet():
    scheduler = OneShot(FullTraining(2, 9), candidates=3, groups=2, finalists=1).build(sampler(), 1)
    supernets = scheduler.ask(2)
    tell(scheduler, supernets)
    scores = scheduler.ask(100)
    assert "abcdefghijkl" == letters(scores)
    assert [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13] == [job.trial.trial_id for job in scores]
    for job, supernet in zip(scores, [supernets[0]] * 6 + [supernets[1]] * 6, strict=True):
        assert supernet.key == job.start_from
        assert (supernet.trial.recipe, supernet.trial.seed) == (job.trial.recipe, job.trial.seed)
        assert (0, 0, 1) == (job.resource, job.rung, job.trial.bracket)


def test_the_best_of_a_group_are_scored_again_as_soon_as_the_group_is_known():
    scheduler = OneShot(FullTraining(1, 9), candidates=4, groups=2, finalists=2).build(sampler(1), 1)
    tell(scheduler, scheduler.ask(1))
    group = scheduler.ask(4)
    assert "abcd" == letters(group)
    tell(scheduler, group)
    finals = scheduler.ask(3)
    assert "dce" == letters(finals)  # the two best, then the first of the next group
    assert [1, 1, 0] == [job.rung for job in finals]
    assert finals[0].trial == group[3].trial


def test_failed_scores_count_in_their_group_and_go_no_further():
    scheduler = OneShot(FullTraining(1, 9), candidates=3, finalists=2).build(sampler(1), 1)
    tell(scheduler, scheduler.ask(1))
    first, second, third = scheduler.ask(9)
    scheduler.tell(Result(third, "failed", error="out of memory"))
    scheduler.tell(Result(second, "completed", float("nan")))
    tell(scheduler, [first])
    assert [first.trial] == [job.trial for job in scheduler.ask(9)]


def test_what_a_supernet_derives_is_scored_first_and_no_architecture_twice():
    scheduler = OneShot(FullTraining(1, 9), candidates=3, finalists=1).build(sampler(1), 1)
    tell(scheduler, scheduler.ask(1), derived=(letter("t"), letter("c")))
    assert "tcab" == letters(scheduler.ask(9))


def test_without_candidates_only_what_is_derived_is_scored():
    scheduler = OneShot(FullTraining(1, 9), candidates=0).build(sampler(1), 1)
    tell(scheduler, scheduler.ask(1), derived=(letter("q"),))
    scores = scheduler.ask(9)
    assert "q" == letters(scores)
    tell(scheduler, scores)
    assert [1] == [job.rung for job in scheduler.ask(9)]


def test_the_winner_of_each_supernet_is_retrained_from_scratch_with_the_final_recipe():
    options = OneShot(
        FullTraining(2, 9),
        candidates=3,
        finalists=2,
        retrain=SuccessiveHalving(2, 2, 4, 2),
        retrain_recipe={"channels": 36},
    )
    scheduler = options.build(sampler(), 1)
    supernets = scheduler.ask(2)
    assert 9 == supernets[0].trial.recipe["horizon"]  # their schedule, as R is that of the retraining
    tell(scheduler, supernets)
    tell(scheduler, scheduler.ask(99))
    tell(scheduler, scheduler.ask(99))
    winners = scheduler.ask(99)
    assert "be" == letters(winners)
    assert [8, 9] == [job.trial.trial_id for job in winners]
    assert [(2, None, 2)] * 2 == [(job.resource, job.start_from, job.trial.bracket) for job in winners]
    assert [{"channels": 36, "learning_rate": rate} for rate in (0.1, 0.2)] == [job.trial.recipe for job in winners]
    assert 2 == len({job.trial.seed for job in winners})
    tell(scheduler, winners)
    (promoted,) = scheduler.ask(99)
    assert (8, 0) == promoted.start_from
    tell(scheduler, [promoted])
    assert [] == scheduler.ask(99)


def test_an_architecture_that_wins_twice_is_retrained_once():
    options = OneShot(FullTraining(2, 9), candidates=0, retrain=FullTraining(None, 9))
    scheduler = options.build(sampler(), 1)
    tell(scheduler, scheduler.ask(2), derived=(letter("q"),))
    for _ in range(2):
        tell(scheduler, scheduler.ask(99))
    assert "q" == letters(scheduler.ask(99))


def test_several_winners_of_a_supernet_are_different_architectures():
    options = OneShot(FullTraining(1, 9), candidates=2, groups=3, finalists=2, winners=3, retrain=FullTraining(None, 9))
    scheduler = options.build(ListedSampler([Proposal(letter(x)) for x in "zabacad"]), 1)
    (supernet,) = scheduler.ask(1)
    scheduler.tell(Result(supernet, "completed", 0.5))
    jobs = scheduler.ask(99)
    while not (jobs and jobs[0].resource):
        tell(scheduler, jobs)
        jobs = scheduler.ask(99)
    assert "abc" == letters(jobs)


def test_under_asha_only_supernets_trained_to_the_end_are_scored_the_best_first():
    scheduler = OneShot(Asha(max_resource=4, eta=2, trials=4), scored=1, candidates=1).build(
        ListedSampler(
            [*(Proposal(letter("z"), {"learning_rate": r}) for r in (0.4, 0.3, 0.2, 0.1)), Proposal(letter("a"))]
        ),
        1,
    )
    best: list[Job] = []
    while not best or best[-1].resource:
        (job,) = scheduler.ask(1)
        best.append(job)
        tell(scheduler, [job])
    trained = [job for job in best if job.resource == 4]
    assert min(trained, key=loss).key == best[-1].start_from


def test_supernets_are_needed_until_their_last_group_is_done():
    scheduler = OneShot(FullTraining(2, 9), candidates=1, finalists=1).build(sampler(), 1)
    first, second = scheduler.ask(2)
    tell(scheduler, [first, second])
    assert {first.key, second.key} == scheduler.needed()
    a, b = scheduler.ask(2)
    tell(scheduler, [a])
    assert {first.key, second.key} == scheduler.needed()  # its finalist is to come
    tell(scheduler, scheduler.ask(1))
    assert {second.key} == scheduler.needed()
    tell(scheduler, [b])
    tell(scheduler, scheduler.ask(1))
    assert set() == scheduler.needed()


def test_the_plan_counts_every_stage():
    options = OneShot(FullTraining(4, 150), candidates=1000, groups=11, retrain=FullTraining(None, 600))
    supernets, scores, retraining = options.plan()
    assert ((4,), (150,)) == (supernets.sizes, supernets.resources)
    assert ((44_000, 440), (0, 0)) == (scores.sizes, scores.resources)
    assert ((4,), (600,)) == (retraining.sizes, retraining.resources)
    assert 2 == replace(options, scored=2).plan()[2].sizes[0]
    assert 2 == len(replace(options, retrain=None).plan())
    assert ((4,), (1,)) == (replace(options, retrain=FullTraining(4, 1)).plan()[2].sizes, (1,))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"supernets": FullTraining(None, 9)}, "supernets: FullTraining.*must end"),
        ({"supernets": OneShot(FullTraining(1, 9))}, "supernets: 'one_shot': cannot be one_shot again"),
        ({"supernets": FullTraining(1, 9), "finalists": 0}, "finalists: 0: must be at least 1"),
        ({"supernets": FullTraining(1, 9), "candidates": -1}, "candidates: -1: must be at least 0"),
        ({"supernets": FullTraining(1, 9), "scored": 0}, "scored: 0: must be at least 1"),
    ],
)
def test_options_that_make_no_search_are_refused(wrong: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message):
        OneShot(**wrong)  # type: ignore[arg-type]


def test_it_decides_after_each_result_where_one_of_its_schedulers_does():
    assert not OneShot(FullTraining(1, 9)).asynchronous
    assert OneShot(Asha(trials=4, max_resource=4, eta=2)).asynchronous
    assert OneShot(FullTraining(1, 9), retrain=Asha(trials=4, max_resource=4, eta=2)).asynchronous
    assert not OneShot(FullTraining(1, 9)).endless


def test_a_result_of_a_job_that_was_issued_differently_is_refused():
    scheduler = OneShot(FullTraining(1, 9)).build(sampler(1), 1)
    (job,) = scheduler.ask(1)
    with pytest.raises(ValueError, match="differs from the one issued"):
        scheduler.tell(Result(replace(job, resource=8), "completed", 0.5))
    tell(scheduler, [job])


def test_scores_leave_no_checkpoints_that_anybody_needs():
    options = OneShot(FullTraining(1, 9), candidates=2, retrain=FullTraining(None, 9))
    scheduler = options.build(sampler(1), 1)
    (supernet,) = scheduler.ask(1)
    tell(scheduler, [supernet])
    tell(scheduler, scheduler.ask(9))
    assert {supernet.key} == scheduler.needed()  # the scores themselves are not among them
