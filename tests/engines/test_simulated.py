"""The simulated engine: virtual time, order of events, stragglers, lost workers, and the job's edge."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest

from spark_nas.engines.simulated import MemoryStore, Simulated, SimulatedEngine
from spark_nas.errors import Diverged, JobError, OptionError, UsageError
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import SUPERNET, Job, JobKey, Outcome, Result, Trial


class Echo:
    """The loss is the trial's id; the checkpoint is a trace of the resources trained to; trial 13 diverges."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        if job.trial.trial_id == 13:
            raise Diverged("loss nan after 2 epochs")
        trace = (workspace.load() or b"") + b">%d" % job.resource
        workspace.save(trace)
        return Outcome(float(job.trial.trial_id), {"length": float(len(trace))})


class Slow(Echo):
    """The same, with times of its own: ten seconds a unit."""

    def seconds(self, job: Job, start: int) -> float:
        return 10.0 * (job.resource - start)


def job(trial_id: int, resource: int, rung: int = 0, start_from: JobKey | None = None) -> Job:
    return Job(Trial(trial_id, SUPERNET), rung, resource, start_from)


def drain(engine: SimulatedEngine, count: int) -> list[tuple[float, Result]]:
    ended = []
    for _ in range(count):
        results = engine.wait()
        ended.extend((engine.now, result) for result in results)
    return ended


def ends(engine: SimulatedEngine, count: int) -> list[tuple[float, int]]:
    return [(now, result.job.trial.trial_id) for now, result in drain(engine, count)]


def test_a_worker_takes_the_next_queued_job_when_its_job_ends():
    engine = Simulated(workers=2).build(Echo())
    engine.submit([job(0, 3), job(1, 1), job(2, 1), job(3, 1)])
    assert ends(engine, 4) == [(1.0, 1), (2.0, 2), (3.0, 0), (3.0, 3)]


def test_equal_times_come_back_in_the_order_of_submission():
    engine = Simulated(workers=3).build(Echo())
    engine.submit([job(2, 4), job(0, 4), job(1, 4)])
    assert ends(engine, 3) == [(4.0, 2), (4.0, 0), (4.0, 1)]


def test_a_promoted_job_takes_the_increment_only_and_starts_from_the_checkpoint():
    engine = Simulated(workers=1).build(Echo())
    engine.submit([job(0, 4)])
    drain(engine, 1)
    engine.submit([job(0, 16, 1, JobKey(0, 0))])
    [(now, result)] = drain(engine, 1)
    assert (16.0, 12.0, float(len(b">4>16"))) == (now, result.seconds, result.metrics["length"])


def test_results_carry_virtual_times_and_workers():
    engine = Simulated(workers=2, unit_seconds=60).build(Echo())
    engine.submit([job(0, 1), job(1, 2), job(2, 1)])
    results = [result for _, result in drain(engine, 3)]
    start = datetime(1970, 1, 1, tzinfo=UTC)
    assert [
        (0, start, 60.0, "worker-000"),
        (1, start, 120.0, "worker-001"),
        (2, start + timedelta(minutes=1), 60.0, "worker-000"),
    ] == [(r.job.trial.trial_id, r.started_at, r.seconds, r.executor) for r in results]


def test_an_evaluator_that_knows_its_times_is_asked_for_them():
    engine = Simulated(workers=1).build(Slow())
    engine.submit([job(0, 4)])
    drain(engine, 1)
    engine.submit([job(0, 5, 1, JobKey(0, 0))])
    assert ends(engine, 1) == [(50.0, 0)]


def test_a_given_unit_time_overrules_the_evaluators_times():
    engine = Simulated(workers=1, unit_seconds=2).build(Slow())
    engine.submit([job(0, 4)])
    assert ends(engine, 1) == [(8.0, 0)]


def test_stragglers_take_one_plus_a_half_normal_times_as_long():
    jobs, std = 4000, 0.5
    engine = Simulated(workers=jobs, straggler_std=std, seed=3).build(Echo())
    engine.submit([job(i, 10) for i in range(jobs)])
    factors = [result.seconds / 10 for _, result in drain(engine, jobs)]
    mean, spread = math.sqrt(2 / math.pi) * std, std * math.sqrt(1 - 2 / math.pi)
    assert min(factors) >= 1
    assert 1 + mean == pytest.approx(sum(factors) / jobs, abs=4 * spread / math.sqrt(jobs))


def test_a_job_survives_t_seconds_with_probability_one_minus_p_to_the_t():
    jobs, p, resource = 4000, 0.05, 10
    engine = Simulated(workers=jobs, drop_probability=p, seed=3).build(Echo())
    engine.submit([job(i, resource) for i in range(jobs)])
    lost = sum(result.status == "lost" for _, result in drain(engine, jobs))
    expected = 1 - (1 - p) ** resource
    assert expected == pytest.approx(lost / jobs, abs=4 * math.sqrt(expected * (1 - expected) / jobs))
    assert lost == engine.lost


def test_a_lost_job_comes_back_when_its_worker_vanishes_and_leaves_nothing():
    store = MemoryStore()
    engine = Simulated(workers=1, drop_probability=0.9, seed=1).build(Echo(), store)
    engine.submit([job(0, 100)])
    [(now, result)] = drain(engine, 1)
    assert (result.status, result.attempt, 0 < now < 100) == ("lost", 1, True)
    assert store.committed(JobKey(0, 0)) is None


def test_a_lost_job_submitted_again_counts_its_attempts_until_it_completes():
    engine = Simulated(workers=1, drop_probability=0.7, seed=2).build(Echo())
    history = []
    engine.submit([job(0, 3)])
    while not history or history[-1][0] == "lost":
        [result] = engine.wait()
        history.append((result.status, result.attempt))
        if result.status == "lost":
            engine.submit([result.job])
    assert len(history) > 1
    assert [("lost", n) for n in range(1, len(history))] + [("completed", len(history))] == history


def test_the_same_seed_gives_the_same_events_and_another_seed_others():
    def events(seed: int) -> list[tuple[float, int]]:
        engine = Simulated(workers=3, straggler_std=1, drop_probability=0.1, seed=seed).build(Echo())
        engine.submit([job(i, 5) for i in range(20)])
        return ends(engine, 20)

    assert events(1) == events(1)
    assert events(1) != events(2)


def test_the_last_job_that_fits_before_the_end_of_all_dates_is_run():
    engine = Simulated(workers=1, unit_seconds=1e11).build(Echo())
    engine.submit([job(0, 1), job(1, 1)])
    assert [1970, 5138] == [result.started_at.year for _, result in drain(engine, 2)]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (Simulated(workers=1, unit_seconds=1e11), "unit_seconds is 100000000000.0, straggler_std 0.0"),
        (Simulated(workers=1, straggler_std=1e300), "unit_seconds is None, straggler_std 1e+300"),
    ],
)
def test_what_goes_beyond_the_end_of_all_dates_is_refused_by_name(options: Simulated, named: str):
    engine = options.build(Echo())
    with pytest.raises(UsageError, match=r"virtual seconds and takes \S+, which goes beyond 2.5e\+11") as error:
        engine.submit([job(0, 3)])
    assert named in str(error.value)


def test_what_an_evaluator_raises_is_a_failed_result_with_its_reason():
    engine = Simulated(workers=1).build(Echo())
    engine.submit([job(13, 1)])
    [(_, result)] = drain(engine, 1)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.splitlines()[0] == "Diverged: loss nan after 2 epochs"


def test_a_missing_checkpoint_is_a_failed_result():
    engine = Simulated(workers=1).build(Echo())
    engine.submit([job(0, 4, 1, JobKey(0, 0))])
    [(_, result)] = drain(engine, 1)
    assert result.error is not None
    assert result.error.splitlines()[0] == "JobError: job (0, 0) left no checkpoint"


def test_a_committed_job_returns_its_result_without_evaluation():
    store = MemoryStore()
    first = Simulated(workers=1).build(Echo(), store)
    first.submit([job(0, 4)])
    [result] = first.wait()
    again = Simulated(workers=1, unit_seconds=7).build(Slow(), store)
    again.submit([job(0, 4)])
    assert [result] == again.wait()


def test_a_commit_of_another_job_is_not_taken_for_this_one():
    store = MemoryStore()
    first = Simulated(workers=1).build(Echo(), store)
    first.submit([job(0, 4)])
    first.wait()
    again = Simulated(workers=1).build(Echo(), store)
    again.submit([other := job(0, 5)])
    [result] = again.wait()
    assert (other, "failed") == (result.job, result.status)
    assert "JobError: the store holds another experiment's job (0, 0)" in str(result.error)


def test_closing_forgets_what_is_in_flight_and_frees_the_workers():
    engine = Simulated(workers=2).build(Echo())
    engine.submit([job(i, 5) for i in range(5)])
    engine.close()
    engine.close()
    with pytest.raises(ValueError, match="nothing is in flight"):
        engine.wait()
    engine.submit([job(7, 1), job(8, 1)])
    assert ends(engine, 2) == [(1.0, 7), (1.0, 8)]


def test_the_first_commit_of_a_job_wins():
    store = MemoryStore()
    one, two = (Result(job(0, 1), "completed", loss) for loss in (1.0, 2.0))
    assert (one, one) == (store.commit(one, b"1"), store.commit(two, b"2"))
    assert store.checkpoint(JobKey(0, 0)) == b"1"
    with pytest.raises(JobError, match=r"job \(5, 0\) left no checkpoint"):
        store.checkpoint(JobKey(5, 0))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("workers", 0),
        ("unit_seconds", 0.0),
        ("unit_seconds", math.inf),
        ("unit_seconds", 1e12),
        ("straggler_std", -0.1),
        ("straggler_std", math.nan),
        ("drop_probability", 1.0),
        ("drop_probability", -0.1),
    ],
)
def test_an_unusable_option_is_named(key: str, value: float):
    with pytest.raises(OptionError, match=f"^{key}: "):
        Simulated(**{key: value})
