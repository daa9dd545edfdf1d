"""The limit: a pool of forked processes. Whole trials are mapped; ASHA is our scheduler in the shipped loop.

Nothing is stored, nothing survives, nothing leaves the machine: what orchestration costs beyond this is the price of
doing more than this.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from benchmarks.orchestration.objective import Workload, draw, train
from benchmarks.orchestration.rivals.ours import Sleeper, parts
from spark_nas.driver import run
from spark_nas.search.records import Job, Outcome, Result


def search(workload: Workload, folder: Path) -> None:
    """Run it in `workload.workers` processes."""
    with get_context("fork").Pool(workload.workers) as pool:
        if not workload.early_stopping:
            configurations = [draw(number) for number in range(workload.trials)]
            for _ in pool.imap_unordered(partial(train, workload, folder), configurations):
                pass
        else:
            scheduler = parts(workload, folder, {"name": "local"}).scheduler()
            run(scheduler, _PoolEngine(pool, Sleeper(workload, str(folder)), workload.workers), _NoLog())


class _Start:
    """A workspace that knows where the job starts from: with r = 1 and whole rungs, that is its own checkpoint."""

    def __init__(self, reached: int) -> None:
        self._reached = reached

    def load(self) -> bytes:
        return str(self._reached).encode()

    def save(self, checkpoint: bytes) -> None:
        """The loop remembers what each job reached."""


def _evaluate(sleeper: Sleeper, job: Job, reached: int) -> Outcome:
    return sleeper.evaluate(job, _Start(reached))  # type: ignore[arg-type]


class _PoolEngine:
    """`search.protocols.Engine` over the pool."""

    def __init__(self, pool: Any, sleeper: Sleeper, slots: int) -> None:  # noqa: ANN401
        self.slots = slots
        self._pool, self._sleeper = pool, sleeper
        self._reached: dict[object, int] = {}
        self._done: SimpleQueue[Result | BaseException] = SimpleQueue()

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._pool.apply_async(
                _evaluate,
                (self._sleeper, job, self._reached.get(job.start_from, 0)),
                callback=lambda outcome, job=job: self._done.put(Result(job, "completed", outcome.loss)),
                error_callback=self._done.put,
            )

    def wait(self, timeout: float | None = None) -> list[Result]:
        try:
            result = self._done.get(timeout=timeout)
        except Empty:
            return []
        if isinstance(result, BaseException):
            raise result
        self._reached[result.job.key] = result.job.resource
        return [result]

    def close(self) -> None:
        """The pool is its owner's to close."""


class _NoLog:
    """A results table that keeps nothing."""

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Forget them."""

    def rows(self) -> Iterable[tuple[Result, int]]:
        return ()
