"""One supernet over several executors, data-parallel: each by pyspark's TorchDistributor; all else as rounds.

For a supernet that is too slow, or too large in its batches, for one GPU. Where several supernets are trained, one a
GPU (`spark_rounds`) uses the same GPUs better, as nothing is exchanged.

A supernet is a barrier stage of so many tasks, which start together or not at all, one supernet after another. Its
result returns as JSON through Spark, and what a rank commits, resumes and loses is the business of `ranks`.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_nas.engines.executors import slots_of
from spark_nas.engines.flight import Batches
from spark_nas.engines.launcher import Launcher
from spark_nas.engines.limits import Limits
from spark_nas.engines.session import is_connect, setting_of
from spark_nas.engines.spark_rounds import SparkRounds, SparkRoundsEngine
from spark_nas.engines.worker import Assignment, Payload
from spark_nas.errors import ClusterError, OptionError
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Job, Result
from spark_nas.search.wire import job_to_json

if TYPE_CHECKING:
    from pyspark.ml.torch.distributor import TorchDistributor
    from pyspark.sql import SparkSession

Task = Callable[[Iterator[Any]], Iterator[Any]]
"""What Spark runs for a partition."""

_TURN_SECONDS = 0.5
"""For so long a supernet is waited for, before it is looked at the rounds that are in flight as well."""
_IGNORE_SSL = "pytorch.spark.distributor.ignoreSsl"
_TASK_GPUS = "spark.task.resource.gpu.amount"


@dataclass(frozen=True)
class SparkDistributed(SparkRounds):
    """Options of the engine that trains a supernet by several processes."""

    processes: int = 2
    """Spark tasks, and so GPUs where they have any, that train a supernet together. Numbers differ from those of one
    process where a network has batch norms, or a batch that cannot be divided."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.processes < 1:
            raise OptionError("processes", self.processes, "give at least 1")
        if self.spark.remote is not None:
            raise OptionError("remote", self.spark.remote, "spark_distributed needs a session of its own: use master")
        if self.spark.profile is not None:
            remedy = "TorchDistributor knows no profile: set spark.task.cpus and spark.task.resource.gpu.amount"
            raise OptionError("profile", self.spark.profile, remedy)

    def _engine(
        self, evaluator: Evaluator, store: JobStore | None, session: SparkSession, ours: bool
    ) -> SparkDistributedEngine:
        """The engine. Raises ClusterError for a cluster, OptionError for an evaluator that cannot train like that."""
        if not hasattr(evaluator, "join"):
            name = type(evaluator).__name__
            raise OptionError("processes", self.processes, f"{name} evaluates in one process only: use spark_rounds")
        check_barrier(session, self.processes, self.spark.wait_seconds)
        return SparkDistributedEngine(evaluator, self, store=store, session=session, ours=ours)


def check_barrier(session: SparkSession, processes: int, wait_seconds: float) -> None:
    """Refuse a session in which a barrier stage of so many tasks would never start, or not as meant.

    Raises ClusterError, after `wait_seconds` where executors are missing.
    """
    if is_connect(session):
        raise ClusterError("spark_distributed: needs a session with a SparkContext: Spark Connect does not tell slots")
    if _is_true(session, "spark.dynamicAllocation.enabled"):
        raise ClusterError(
            "spark.dynamicAllocation.enabled: 'true': start Spark with it set to false and the executors it needs: "
            "Spark starts no tasks together (a barrier stage) on a cluster that grows"
        )
    if _is_true(session, "spark.ssl.enabled") and not _is_true(session, _IGNORE_SSL):
        raise ClusterError(
            f"spark.ssl.enabled: 'true': gradients travel between executors unencrypted: set {_IGNORE_SSL} to true "
            "where that network is private, or use spark_rounds"
        )
    gpus = float(setting_of(session, _TASK_GPUS) or 0)
    if gpus not in (0, 1):
        raise ClusterError(f"{_TASK_GPUS}: {gpus:g}: set it to 1: processes that train together have a GPU each")
    try:
        slots_of(session, processes, wait_seconds)
    except ClusterError as error:
        reason = str(error).removeprefix(f"slots: {processes}: ")
        raise ClusterError(f"processes: {processes}: a supernet needs as many slots at once: {reason}") from None


class SparkDistributedEngine(SparkRoundsEngine):
    """Jobs whose architecture is all open are trained by several processes, one job after another; others in rounds."""

    def __init__(
        self,
        evaluator: Evaluator,
        options: SparkDistributed,
        *,
        store: JobStore | None,
        session: SparkSession,
        ours: bool,
    ) -> None:
        super().__init__(evaluator, options, store=store, session=session, ours=ours)
        limits = Limits(options.time_limit, options.checkpoint_seconds)
        payload = Payload.pack(evaluator, store, limits, options.require_gpu)
        self._together = TogetherLauncher(session, payload, store, processes=options.processes)
        self._supernets = 0

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start the jobs; supernets stand in line."""
        for job in filter(is_supernet, jobs):
            self._together.launch([[Assignment(job, self._attempts.next(job))]])
            self._supernets += 1
        super().submit([job for job in jobs if not is_supernet(job)])

    def wait(self, timeout: float | None = None) -> list[Result]:
        """The result of the next supernet, or those of the next stage. Raises as that of `spark_rounds`."""
        if not self._supernets:
            return super().wait(timeout)
        end = math.inf if timeout is None else time.monotonic() + timeout
        turn = _TURN_SECONDS if self._flying else math.inf
        while True:
            left = min(turn, max(0.0, end - time.monotonic()))
            landing = self._together.landing(None if left == math.inf else left)
            if landing is not None:
                self._supernets -= 1
                return list(landing.results)
            results = super().wait(0.0) if self._flying else []
            if results or time.monotonic() >= end:
                return results

    def _end_flights(self) -> bool:
        self._supernets = 0
        answers = self._together.close()  # which ends its processes
        return super()._end_flights() and answers


class TogetherLauncher(Launcher):
    """Flies a single job at a time, by several processes."""

    def __init__(self, session: SparkSession, payload: Payload, store: JobStore | None, *, processes: int) -> None:
        self._processes = processes
        self._use_gpu = bool(setting_of(session, _TASK_GPUS))
        self._cpus = int(setting_of(session, "spark.task.cpus") or 1)
        super().__init__(session, payload, store, threads=1, description=f"spark_nas, {processes} processes")

    def _collect(self, board: Batches, careful: bool) -> list[str]:
        """One barrier stage, one job."""
        from pyspark import SparkFiles

        [[(job, attempt)]] = board
        distributor = distributor_of(self._processes, use_gpu=self._use_gpu)
        # Below its errors it tells what our own progress tells; and a warning of Spark 3.5's has an argument too many,
        # at which a strict handler of logs raises.
        distributor.logger.setLevel(logging.ERROR)
        folders, names = (SparkFiles.getRootDirectory(), "."), self._session.sparkContext._python_includes or ()
        rank = shipped([f"{folder}/{name}" for folder in folders for name in names])
        result: Any = distributor.run(rank, self._payload.pickled, job_to_json(job), attempt, self._cpus)
        return [str(result)]

    def _is_hopeless(self, error: Exception) -> bool:
        # A rank that dies is an error of Python's, in TorchDistributor's own function.
        return "TorchDistributor failed" not in str(error) and super()._is_hopeless(error)


def distributor_of(processes: int, *, use_gpu: bool) -> TorchDistributor:
    """One that leaves no trace in the Python workers, which jobs after it use again.

    TorchDistributor sets CUDA_VISIBLE_DEVICES there to a task's own GPU and never back, and keeps what it finds, be it
    that of a task before or all GPUs of the machine: two processes would then train on one GPU.
    """
    from pyspark.ml.torch.distributor import TorchDistributor

    class Distributor(TorchDistributor):
        def _get_spark_task_function(self, *args: Any, **kwargs: Any) -> Task:  # noqa: ANN401 - handed on
            return with_environment_of_its_own(super()._get_spark_task_function(*args, **kwargs))

    return Distributor(processes, local_mode=False, use_gpu=use_gpu)


def with_environment_of_its_own(task: Task) -> Task:
    """The task, whose processes see its own GPU alone; the worker's environment is as before when it has ended."""

    def run(rows: Iterator[Any]) -> Iterator[Any]:
        import os

        from spark_nas.engines.gpu import see_own_gpu

        before = dict(os.environ)
        try:
            see_own_gpu()
            yield from task(rows)
        finally:
            os.environ.clear()
            os.environ.update(before)

    return run


def shipped(paths: Sequence[str]) -> Callable[..., str]:
    """`run_rank`, for a process that does not know of the files shipped to the executors (`--py-files`).

    TorchDistributor starts it below the Python worker, which has put them on its own path only. On executors they
    are in the working folder; in local mode, in one of the driver's.
    """

    # A function inside of another travels by value: what it takes to find the package cannot be in the package.
    def find_and_run(*args: Any) -> str:  # noqa: ANN401 - those of run_rank
        import os
        import sys

        sys.path[:0] = [os.path.abspath(path) for path in paths if os.path.exists(path)]
        from spark_nas.engines.ranks import run_rank

        return run_rank(*args)

    return find_and_run


def is_supernet(job: Job) -> bool:
    """Whether a job trains a network all of whose choices are open (or that has none)."""
    return job.resource > 0 and not job.trial.architecture


def _is_true(session: SparkSession, key: str) -> bool:
    return (setting_of(session, key) or "false").lower() == "true"
