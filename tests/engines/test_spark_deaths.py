"""Jobs that hang, die, or lose their data, on a real local Spark: a row says why, and the others go on."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from spark_nas.data.cache import DECODED
from spark_nas.data.dataset import ShardedData
from spark_nas.engines.gpu import Place
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.engines.task import run_job
from spark_nas.evaluation.training import Training
from spark_nas.search.protocols import Engine, Workspace
from spark_nas.search.records import Job, Outcome, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.mlp import Mlp
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from tests.engines.probes import Probe
from tests.engines.probes import job as probe_job

pytestmark = [pytest.mark.spark, pytest.mark.slow]

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class Counting:
    """Counts to four, keeping each number; the first time, it does not come to its end. Notes each hang in a file."""

    def __init__(self, hangs: Path) -> None:
        self.hangs = str(hangs)

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        how = job.trial.architecture["how"]
        start = int((workspace.recover() or b"0").decode())
        for number in range(start, 4):
            if how == "dies at 2" and number == 2 and start == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if how == "hangs at 2" and number == 2:
                with open(self.hangs, "a") as file:
                    file.write("hangs\n")
                time.sleep(600)
            workspace.keep(lambda number=number: str(number + 1).encode())  # type: ignore[misc]
        return Outcome(0.5, {"counted": 4 - start})


def job(number: int, how: str) -> Job:
    return Job(Trial(number, Architecture({"how": how})), 0, 1)


def test_a_job_that_died_goes_on_from_what_it_kept_and_one_that_hangs_is_a_failed_row(
    spark: SparkSession, tmp_path: Path
) -> None:
    store = CommittedJobs(LocalFiles(tmp_path))
    hangs = tmp_path / "hangs"
    engine = SparkRounds(time_limit=0.5, checkpoint_seconds=0).build(Counting(hangs), store, spark)
    engine.submit([job(0, "counts"), job(1, "dies at 2"), job(2, "hangs at 2"), job(3, "counts")])
    first = engine.wait()
    assert [result.status for result in first] == ["completed", "lost", "failed", "completed"]
    reason = "TimeLimitExceeded: ran longer than its time limit of 0.5 s and did not stop"
    assert str(first[2].error).splitlines()[0] == reason
    assert store.kept(job(1, "dies at 2").key) == b"2"
    before = hangs.read_text()
    engine.submit([job(1, "dies at 2"), job(2, "hangs at 2")])
    again = engine.wait()
    engine.close()
    assert [(result.status, result.metrics.get("counted")) for result in again] == [("completed", 2), ("failed", None)]
    assert str(again[1].error) == str(first[2].error)
    assert hangs.read_text() == before  # it did not hang again
    assert store.kept(job(1, "dies at 2").key) is None


@pytest.mark.one_spark
def test_more_killers_than_anybody_counts_cost_a_slow_innocent_no_attempt(spark: SparkSession, tmp_path: Path) -> None:
    """Here Spark gives a task up at its first death: the slow job is never done before the last killer has died."""
    engine = SparkRounds().build(Probe(), CommittedJobs(LocalFiles(tmp_path)), spark)
    killers = [probe_job(number, what="die") for number in range(5)]  # one more than Spark counts of a task
    engine.submit([probe_job(20, what="slow"), *killers, probe_job(21)])
    slow, *first, quick = engine.wait()
    assert ([slow.status, quick.status], {result.status for result in first}) == (["completed"] * 2, {"lost"})
    engine.submit([*killers[:2], probe_job(22, what="slow"), probe_job(23)])
    again = engine.wait()
    engine.close()
    assert [(result.status, result.attempt) for result in again] == [("lost", 2)] * 2 + [("completed", 1)] * 2


class BreaksGpu:
    """A job that breaks the GPU breaks it for all that follow in its process, as CUDA has it; there is none here."""

    broken = False

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import torch

        if job.trial.architecture["how"] == "breaks" or self.broken:
            self.broken = True
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return Outcome(0.5, {"pid": os.getpid()})


@pytest.mark.parametrize(
    "options",
    [
        SparkAsync(slots=1, channel="on"),
        SparkAsync(slots=1, channel="off"),
        # A round ends its tasks as batches do, and has but one job in each.
        pytest.param(SparkRounds(), marks=pytest.mark.exhaustive),
    ],
    ids=["channel", "batches", "rounds"],
)
def test_a_job_that_breaks_the_gpu_fails_and_its_process_is_not_used_again(
    spark: SparkSession, tmp_path: Path, options: SparkRounds | SparkAsync
) -> None:
    engine: Engine = options.build(BreaksGpu(), CommittedJobs(LocalFiles(tmp_path)), spark)
    found: dict[int, Result] = {}
    for numbers in (range(4), range(4, 14)):  # short ones, of which a session holds several
        engine.submit([job(number, "breaks" if number in (5, 6) else "works") for number in numbers])
        while len(found) < numbers.stop:
            found |= {result.job.trial.trial_id: result for result in engine.wait()}
    engine.close()
    broken = {number for number, result in found.items() if result.status == "failed"}
    assert broken == {5, 6}
    assert {result.status for number, result in found.items() if number not in broken} == {"completed"}
    assert {result.attempt for result in found.values()} == {1}
    executors = {number: result.executor for number, result in found.items()}
    assert len({executors[number] for number in broken}) == 2


@pytest.fixture
def data(digits: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of the digits that the test may damage; nothing of them is in this process's memory."""
    DECODED.clear()
    yield Path(shutil.copytree(digits, tmp_path / "data"))
    DECODED.clear()


def train(data: Path, damage: Callable[[Path], object]) -> Result:
    """A job whose data are damaged after the search has begun."""
    dataset = ShardedData(str(data)).build()
    damage(data)
    task = Training(batch_size=256).build(Mlp().build(), dataset, 1)
    return run_job(Job(Trial(0, Architecture()), 0, 1), task, place=Place(1))


def cut(data: Path) -> None:
    shard = next((data / "train").glob("*.parquet"))
    shard.write_bytes(shard.read_bytes()[:-100])


def overwrite(data: Path) -> None:
    shard = next((data / "train").glob("*.parquet"))
    shard.write_bytes(b"\0" * shard.stat().st_size)


@pytest.mark.parametrize("damage", [shutil.rmtree, cut, overwrite, lambda data: shutil.rmtree(data / "valid")])
def test_data_that_vanish_or_are_corrupt_fail_the_job_with_the_file_s_name(
    data: Path, damage: Callable[[Path], object]
) -> None:
    assert train(data, lambda _: None).status == "completed"
    DECODED.clear()
    result = train(data, damage)
    assert result.status == "failed"
    assert "part-0000" in str(result.error).splitlines()[0]
