"""Jobs run one after another in this process: the reference that every other engine must agree with."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from spark_nas.engines.attempts import Attempts
from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.simulated import MemoryStore
from spark_nas.engines.task import run_job
from spark_nas.errors import OptionError
from spark_nas.search.protocols import Evaluator, JobStore
from spark_nas.search.records import Job, Result


@dataclass(frozen=True)
class Local:
    """Options of the local engine."""

    slots: int = 1
    """Jobs handed out at once; more than one lets a round be asked whole, though it still runs one by one."""
    threads: int = 1
    """CPU threads of a job: one, as a Spark task has unless `spark.task.cpus` says otherwise. The order of sums, and
    with it the last bits of every loss, depends on it: equal numbers of threads give equal tables."""
    time_limit: float | None = None
    """Seconds of wall time that a job may take; None for no limit. Training looks at the time in every batch. A job
    that hangs elsewhere hangs the search: this process cannot be killed without it, as a Spark worker can."""
    checkpoint_seconds: float | None = 60.0
    """Seconds between the recovery checkpoints of a job, written at the end of an epoch: what a job that dies may lose
    and train again. None writes none."""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise OptionError("slots", self.slots, "give at least 1")
        if self.threads < 1:
            raise OptionError("threads", self.threads, "give at least 1")
        Limits(self.time_limit, self.checkpoint_seconds)

    def build(self, evaluator: Evaluator, store: JobStore | None = None) -> LocalEngine:
        """The engine; without a store, checkpoints live in memory and die with the engine."""
        return LocalEngine(evaluator, self, store=store)


class LocalEngine:
    """Runs jobs in the order of submission, one a `wait`, always on the CPU.

    submit([a, b]); wait() == [result of a]; wait() == [result of b]
    """

    def __init__(self, evaluator: Evaluator, options: Local, *, store: JobStore | None = None) -> None:
        self._evaluator, self._options = evaluator, options
        self._store: JobStore = store if store is not None else MemoryStore()
        self._place = Place(options.threads)
        self._limits = Limits(options.time_limit, options.checkpoint_seconds)
        self._queue: deque[tuple[Job, int]] = deque()
        self._attempts = Attempts()

    @property
    def slots(self) -> int:
        """As the options say."""
        return self._options.slots

    def submit(self, jobs: Sequence[Job]) -> None:
        """Queue jobs; they run in `wait`."""
        self._queue.extend((job, self._attempts.next(job)) for job in jobs)

    def wait(self, timeout: float | None = None) -> list[Result]:
        """Run the next job, however long it takes, and return its result. Raises ValueError when there is none."""
        if not self._queue:
            raise ValueError("nothing is in flight")
        job, attempt = self._queue.popleft()
        return [run_job(job, self._evaluator, self._store, self._limits, attempt, place=self._place)]

    def close(self) -> None:
        """Forget what has not run."""
        self._queue.clear()
