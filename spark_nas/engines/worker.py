"""What a Spark task of ours does: take its jobs, run them one after another, return their results as JSON rows.

Everything here is found by name on the executors (an installed wheel, or a zip of `--py-files`), so a task's
closure holds data only: the payload (evaluator and store, cloudpickled once an engine) and the feed (its jobs).
"""

from __future__ import annotations

import json
import logging
import math
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from spark_nas.engines.environment import environment_of
from spark_nas.engines.faults import SPOILED
from spark_nas.engines.gpu import place_of_task
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.own_modules import travelling
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Job, Result
from spark_nas.search.wire import job_from_json, job_to_json, result_to_json

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

RESULT_SCHEMA = "result string"
_log = logging.getLogger(__name__)
NOT_STARTED = ""
"""Stands where the result of a job would, that its batch has not come to."""


class Assignment(NamedTuple):
    """A job, and which of its submissions this is (from 1)."""

    job: Job
    attempt: int


Work = Callable[[Job, int], Result]
"""Runs a job as the given attempt; never raises."""
Keep = Callable[[Result], None]
"""Commits a result that nobody took, in case its job was too short to have been committed; never raises."""


class Feed(Protocol):
    """Where a task's jobs come from and where their results go. Picklable: made on the driver, used in the task.

    This is the seam between fixed batches, whose results return through Spark when the task ends, and a channel
    on which a task asks the driver for its next job and hands in each result at once (docs/decisions/0012).
    """

    @property
    def careful(self) -> bool:
        """Whether every job is to be committed, however short (`Limits.commit_seconds`)."""
        ...

    def run(self, partition: int, work: Work, keep: Keep) -> Iterator[str]:
        """Do the work of a partition, one job at a time; yields what is to return through Spark."""
        ...


@dataclass(frozen=True, slots=True)
class FixedBatches:
    """A batch of jobs a partition, settled when the Spark job is submitted."""

    packed: bytes
    """Compressed JSON: 10,000 NAS-Bench-201 jobs are a few hundred kB instead of 5 MB."""
    careful: bool = True
    """Whether every job is to be committed, however short."""
    seconds: float | None = None
    """After so long no job of a batch is begun, but its first: the rest come back as `NOT_STARTED`. None: no limit.
    So they do behind a job that has spoiled its process."""

    @staticmethod
    def pack(
        batches: Sequence[Sequence[Assignment]], *, careful: bool = True, seconds: float | None = None
    ) -> FixedBatches:
        """One batch for each partition, in order."""
        raw = [[[job_to_json(job), attempt] for job, attempt in batch] for batch in batches]
        return FixedBatches(zlib.compress(json.dumps(raw).encode(), level=1), careful, seconds)

    def run(self, partition: int, work: Work, keep: Keep) -> Iterator[str]:
        """The partition's batch, in order; every result returns through Spark."""
        again, until = retries(), time.monotonic() + (math.inf if self.seconds is None else self.seconds)
        for number, (text, attempt) in enumerate(_unpack(self.packed)[partition]):
            over = number > 0 and (time.monotonic() > until or SPOILED.is_set())
            yield NOT_STARTED if over else result_to_json(work(job_from_json(text), attempt + again))


@dataclass(frozen=True, slots=True)
class Payload:
    """What all tasks of an engine need, as bytes, so that each Python worker unpickles it once."""

    pickled: bytes

    @staticmethod
    def pack(evaluator: Evaluator, store: JobStore | None, limits: Limits, require_gpu: bool) -> Payload:
        """Raises ValueError, naming the evaluator, when it cannot travel."""
        from pyspark import cloudpickle

        for module in travelling():
            cloudpickle.register_pickle_by_value(module)  # type: ignore[no-untyped-call]
        try:
            return Payload(cloudpickle.dumps((evaluator, store, limits, require_gpu)))  # type: ignore[no-untyped-call]
        except Exception as error:
            raise ValueError(
                f"the evaluator {type(evaluator).__name__} cannot be sent to executors: {error}"
            ) from error


def run_partition(payload: Payload, feed: Feed, rows: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The function of `mapInArrow`: rows of `spark.range` (partition numbers) in, rows of results out."""
    import pyarrow as pa

    evaluator, store, limits, require_gpu = unpickle(payload.pickled)
    place = place_of_task(require_gpu)
    environment_of(place)  # found once a process: before the first job is asked for, not while its result waits

    def work(job: Job, attempt: int) -> Result:
        return run_job(job, evaluator, store, limits, attempt, place=place, careful=feed.careful)

    keep = partial(keep_result, store)
    for batch in rows:
        for partition in batch.column(0).to_pylist():
            for row in feed.run(partition, work, keep):
                yield pa.RecordBatch.from_arrays([pa.array([row], pa.string())], names=["result"])
        # PySpark throws a Python worker away, and with it torch, the CUDA context and all cached data, whose task has
        # not read its input to the end. Only where a job has spoiled that context this is what is wanted.
        if SPOILED.is_set():
            return


def keep_result(store: JobStore | None, result: Result) -> None:
    """Commit a completed result, whose checkpoint, if it left one, has been committed; never raises."""
    if store is not None and result.status == "completed":
        try:
            store.commit(result, None)
        except Exception as error:  # it is not worse off than with a driver that dies a little later
            _log.warning("the result of job %s is lost: %s", tuple(result.job.key), error)


def retries() -> int:
    """How often Spark itself has started this task before."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return int(context.attemptNumber()) if context is not None else 0


@lru_cache(maxsize=2)
def unpickle(pickled: bytes) -> tuple[Evaluator, JobStore | None, Limits, bool]:
    """What a payload holds: evaluator, store, limits, and whether a GPU is required."""
    from pyspark import cloudpickle

    evaluator, store, limits, require_gpu = cloudpickle.loads(pickled)
    return evaluator, store, limits, require_gpu


@lru_cache(maxsize=1)
def _unpack(packed: bytes) -> list[list[tuple[str, int]]]:
    return [[(text, attempt) for text, attempt in batch] for batch in json.loads(zlib.decompress(packed))]
