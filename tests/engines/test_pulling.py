"""Worker sessions that pull, on a real local Spark: workers killed and late, a driver gone, sockets counted."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from spark_nas.driver import run
from spark_nas.engines.pulling import PullingEngine
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.errors import ClusterError
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import SUPERNET, Job, JobKey, Outcome, Proposal, Result
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.results import ParquetLog
from tests.engines.probes import Probe, job

pytestmark = pytest.mark.spark
cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Gated:
    """Writes its process id to `folder/TRIAL.ATTEMPT`; the first attempt at a trial waits there for `folder/go`."""

    def __init__(self, folder: Path, patient: bool = True) -> None:
        self.folder, self.patient = str(folder), patient

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import os
        import time

        attempt = 1
        while os.path.exists(f"{self.folder}/{job.trial.trial_id}.{attempt}"):
            attempt += 1
        mark = f"{self.folder}/{job.trial.trial_id}.{attempt}"
        with open(mark + "~", "w") as file:
            file.write(str(os.getpid()))
        os.rename(mark + "~", mark)
        while self.patient and attempt == 1 and not os.path.exists(f"{self.folder}/go"):
            time.sleep(0.01)
        with open(mark + ".done", "w"):
            return Outcome(float(attempt))


class Same:
    """A sampler without choices."""

    def suggest(self) -> Proposal:
        return Proposal(SUPERNET)

    def observe(self, result: Result) -> None:
        pass


def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def pid_of(folder: Path, trial: int, attempt: int = 1) -> int:
    """The process of a job that has begun."""
    mark = folder / f"{trial}.{attempt}"
    until(mark.exists)
    return int(mark.read_text())


def collect(engine: PullingEngine, count: int) -> list[Result]:
    results: list[Result] = []
    while len(results) < count:
        results += engine.wait()
    return results


def active(spark: SparkSession) -> list[int]:
    return list(spark.sparkContext.statusTracker().getActiveJobsIds())


def listening() -> set[tuple[str, int]]:
    """The addresses on which this process listens; Spark's own are the JVM's."""
    connections = psutil.Process().net_connections("inet")
    return {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}


@pytest.fixture
def store(tmp_path: Path) -> CommittedJobs:
    return CommittedJobs(LocalFiles(tmp_path / "store"))


@pytest.fixture
def pulling(spark: SparkSession, store: CommittedJobs) -> Iterator[Callable[..., PullingEngine]]:
    """Engines that end with the test."""
    built: list[PullingEngine] = []

    def make(evaluator: object, **options: object) -> PullingEngine:
        engine = SparkAsync(channel="on", **options).build(evaluator, store, spark)
        assert isinstance(engine, PullingEngine)
        built.append(engine)
        return engine

    yield make
    for engine in built:
        engine.close()


Pulling = Callable[..., PullingEngine]


def test_a_search_outlives_a_worker_that_is_killed_and_counts_the_attempt(pulling: Pulling, tmp_path: Path):
    engine, log = pulling(Gated(tmp_path, patient=False)), ParquetLog(LocalFiles(tmp_path / "run"), "run")
    gated = pulling(Gated(tmp_path), slots=1)
    gated.submit([job(7)])
    os.kill(pid_of(tmp_path, 7), signal.SIGKILL)
    [lost] = gated.wait()
    assert (lost.status, lost.attempt) == ("lost", 1)
    assert "exited unexpectedly" in str(lost.error)
    gated.submit([job(7)])
    [again] = gated.wait()
    assert (again.status, again.attempt, again.loss) == ("completed", 2, 2.0)
    gated.close()
    assert run(FullTraining(max_resource=1, trials=6).build(Same(), 1), engine, log) == 6


def test_a_session_that_somebody_cancels_loses_its_job_and_ends_no_search(
    pulling: Pulling, spark: SparkSession, tmp_path: Path
):
    engine = pulling(Gated(tmp_path), slots=1)
    engine.submit([job(0)])
    pid_of(tmp_path, 0)
    spark.sparkContext.cancelJobGroup(engine._sessions._group(1))
    [lost] = engine.wait()
    assert (lost.status, lost.attempt) == ("lost", 1)
    engine.submit([job(0)])
    assert ["completed"] == [result.status for result in engine.wait()]


def test_the_row_of_a_search_says_that_its_worker_was_killed_once(pulling: Pulling, tmp_path: Path):
    class Suicidal(Gated):
        def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
            import os
            import signal

            outcome = super().evaluate(job, workspace)
            if job.trial.trial_id == 2 and outcome.loss == 1.0:
                os.kill(os.getpid(), signal.SIGKILL)
            return outcome

    engine, log = pulling(Suicidal(tmp_path, patient=False)), ParquetLog(LocalFiles(tmp_path / "run"), "run")
    run(FullTraining(max_resource=1, trials=6).build(Same(), 1), engine, log)
    rows = {result.job.trial.trial_id: result for result, _ in log.rows()}
    assert {i: (2 if i == 2 else 1) for i in range(6)} == {i: row.attempt for i, row in rows.items()}
    assert {"completed"} == {row.status for row in rows.values()}


def test_a_worker_that_stops_is_given_up_and_what_it_does_later_changes_nothing(
    pulling: Pulling, tmp_path: Path, store: CommittedJobs
):
    engine = pulling(Gated(tmp_path), silence_seconds=5.0)
    engine.submit([job(0)])
    pid = pid_of(tmp_path, 0)
    os.kill(pid, signal.SIGSTOP)
    try:
        [lost] = engine.wait()
        assert lost.status == "lost"
        assert "silent for 5 s" in str(lost.error)
        engine.submit([job(0)])
        [result] = engine.wait()
        assert (result.status, result.attempt, result.loss) == ("completed", 2, 2.0)
    finally:
        (tmp_path / "go").touch()
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGCONT)
    # Spark has killed it meanwhile, or it ran its job to the end, and found that nobody wants it.
    until(lambda: not psutil.pid_exists(pid) or (tmp_path / "0.1.done").exists())
    engine.submit([job(1)])
    (tmp_path / "go").touch()
    assert [JobKey(1, 0)] == [r.job.key for r in engine.wait()]  # nothing came in between
    assert store.committed(JobKey(0, 0)) == result


def test_sessions_of_a_driver_that_is_gone_end_soon_and_what_they_were_at_still_commits(
    pulling: Pulling, spark: SparkSession, tmp_path: Path, store: CommittedJobs
):
    engine = pulling(Gated(tmp_path), slots=1)
    engine.submit([job(0), job(1)])
    pid_of(tmp_path, 0)
    assert active(spark)
    engine._server.close()
    (tmp_path / "go").touch()
    until(lambda: store.committed(JobKey(0, 0)))
    until(lambda: not active(spark), seconds=30)  # half of what silence would take
    assert store.committed(JobKey(1, 0)) is None


def test_an_idle_session_gives_its_slot_back_and_the_next_one_finds_its_worker_warm(
    pulling: Pulling, spark: SparkSession, tmp_path: Path
):
    engine = pulling(Gated(tmp_path, patient=False), slots=1, idle_seconds=0.3)
    pids = []
    for trial in range(4):
        engine.submit([job(trial)])
        assert engine.wait()
        pids.append(pid_of(tmp_path, trial))
        until(lambda: not active(spark))
    assert len(set(pids)) <= 2 < len(pids)  # Spark keeps two warm workers, and takes turns


def test_a_lease_ends_a_session_between_two_jobs_and_another_goes_on(pulling: Pulling, spark: SparkSession):
    engine = pulling(Probe(), slots=1, lease_seconds=0.5)
    engine.submit([job(0, what="slow"), job(1, what="slow"), job(2)])
    assert [0, 1, 2] == [r.job.trial.trial_id for r in collect(engine, 3)]
    until(lambda: not active(spark))


def test_the_channel_opens_one_socket_on_loopback_and_close_closes_it(pulling: Pulling):
    before = listening()
    engine = pulling(Probe())
    assert {"127.0.0.1"} == {host for host, _ in listening() - before}
    assert 1 == len(listening() - before)
    engine.close()
    assert before == listening()


def test_without_the_channel_no_socket_is_opened(spark: SparkSession):
    before = listening()
    engine = SparkAsync(channel="off").build(Probe(), None, spark)
    engine.submit([job(0)])
    assert engine.wait()
    assert before == listening()
    engine.close()


def test_a_port_may_be_chosen_and_one_that_is_taken_is_refused_with_the_remedy(pulling: Pulling):
    port = pulling(Probe())._server.address[1]
    with pytest.raises(ClusterError, match=f"127.0.0.1:{port}: .*give another engine.channel_port"):
        pulling(Probe(), channel_port=port)


def test_executors_that_cannot_reach_the_driver_end_the_search_with_the_remedy(pulling: Pulling):
    engine = pulling(Probe(), slots=1)
    nowhere = pulling(Probe())
    nowhere.close()
    port = nowhere._server.address[1]
    engine._sessions._door = replace(engine._sessions._door, port=port, connect_seconds=0.2)
    engine.submit([job(0)])
    with pytest.raises(ClusterError, match=f"cannot reach the driver: .*127.0.0.1:{port}: .*engine.channel to off"):
        engine.wait()


def test_the_key_is_in_no_conf_log_or_repr(pulling: Pulling, spark: SparkSession, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    engine = pulling(Probe(), slots=1)
    engine.submit([job(0)])
    assert engine.wait()
    door = engine._sessions._door
    said = caplog.text + repr(spark.sparkContext.getConf().getAll()) + repr(door) + repr(engine) + repr(vars(engine))
    assert not [form for form in (door.key.hex(), repr(door.key)[2:-1]) if form in said]


def test_a_result_too_long_for_the_channel_is_a_failed_job_and_no_dead_session(pulling: Pulling):
    class Verbose:
        def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
            from spark_nas.search.records import Outcome

            return Outcome(0.0, {"x" * 17_000_000: 1.0} if job.trial.trial_id == 0 else {})

    engine = pulling(Verbose(), slots=1)
    engine.submit([job(0), job(1)])
    found = {r.job.trial.trial_id: r for r in collect(engine, 2)}
    assert ["failed", "completed"] == [found[0].status, found[1].status]
    assert "its result cannot be sent" in str(found[0].error)
