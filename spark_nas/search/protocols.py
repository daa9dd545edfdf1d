"""The small interfaces through which search, evaluation, engines, storage and data know one another.

ask the scheduler -> submit to the engine -> wait for results -> append rows -> tell the scheduler
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from spark_nas.search.records import CurvePoint, Job, JobKey, Outcome, Proposal, Result

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Sampler(Protocol):
    """Which architecture and recipe next.

    Laws: the same seed and the same observations give the same suggestions; `observe` accepts any result,
    also a failed one, and ignores what it has no use for.
    """

    def suggest(self) -> Proposal | None:
        """The next proposal, or None when there is none for now (nothing left, or results must come first)."""
        ...

    def observe(self, result: Result) -> None:
        """Learn from a result."""
        ...


class Scheduler(Protocol):
    """For how long each trial is trained, and which may go on.

    Laws (tests/contracts/test_schedulers.py holds them for every scheduler and sampler):

    - asking in portions equals asking at once: `ask(2) + ask(3) == ask(5)`;
    - no (trial, rung) is issued twice: lost jobs are the driver's business;
    - `start_from` names a completed job;
    - the same seed and the same tells at the same places give the same asks;
    - failed and non-finite results are accepted, count in their rung and are never promoted;
    - of the jobs told so far, no later one starts from any that `needed` leaves out;
    - an empty answer while jobs fly means wait; an empty answer with none flying means done.
    """

    @property
    def max_resource(self) -> int:
        """R: the resource of a fully trained trial. Learning-rate schedules span it."""
        ...

    def ask(self, limit: int) -> list[Job]:
        """At most `limit` jobs to start now."""
        ...

    def tell(self, result: Result) -> None:
        """Take in the result of a job that `ask` has issued. Raises ValueError for any other."""
        ...

    def needed(self) -> set[JobKey]:
        """The checkpoints that jobs in flight start from, and those told of that a later job may start from.

        All others may be deleted. It may take a pass over all trials: ask it now and then, not after every result.
        """
        ...


class Workspace(Protocol):
    """What an evaluator may touch while a job runs; made by `engines.task`, on the executor."""

    @property
    def device(self) -> str:
        """`cpu`, or `cuda:N` for the address that Spark gave the task."""
        ...

    @property
    def threads(self) -> int:
        """CPU threads this job may use."""
        ...

    def load(self) -> bytes | None:
        """The checkpoint of `job.start_from`, or None when the job starts from scratch."""
        ...

    def origin(self) -> str | None:
        """What names the content that `load` would return, among all runs and attempts; None where it is None."""
        ...

    def save(self, checkpoint: bytes) -> None:
        """Leave the job's checkpoint; it becomes visible together with the result, or not at all."""
        ...

    def recover(self) -> bytes | None:
        """What an earlier attempt at this very job has kept last, or None. Ignore what cannot be read."""
        ...

    def keep(self, state: Callable[[], bytes]) -> None:
        """Write `state()` for a later attempt, if the configured seconds have passed since the last time.

        Never raises for a store out of reach: the job goes on without. Cheap when it is not due: call it every epoch.
        """
        ...

    def report(self, point: CurvePoint) -> None:
        """A unit of resource is trained: the next point of the job's curve, which its row has even if the job fails.

        A job that goes on from what `recover` gave reports the points from before, too. An evaluator need not report:
        then a failed job has no curve, and one that went well that of its outcome.
        """
        ...

    def check_time(self) -> None:
        """Raise TimeLimitExceeded when the job has run longer than its limit. Cheap: call it every batch."""
        ...


class Evaluator(Protocol):
    """How good a trial is. Picklable: it travels to the executors once per stage.

    One whose checkpoints are a few bytes may say so, `small_checkpoints = True`: then none is deleted while a search
    goes on, which would cost more than it saves.
    """

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """Train and measure. Raises what it likes: `engines.task` turns it into a failed result."""
        ...


class Peers(Protocol):
    """The processes that run one job together, as one of them sees the others."""

    @property
    def rank(self) -> int:
        """This process's number; 0 is the first, whose result counts."""
        ...

    @property
    def size(self) -> int:
        """How many there are."""
        ...

    def tell(self, text: str) -> None:
        """Say something for all to hear; what was said before is forgotten."""
        ...

    def hear(self, rank: int, seconds: float) -> str | None:
        """What a process has said last; None if it says nothing for so long."""
        ...


class ParallelEvaluator(Evaluator, Protocol):
    """An evaluator of which several processes can run one job together.

    All of them evaluate the job; the first one alone has a workspace that reads and writes, and what it reads is
    handed to the others. A process that dies, or fails, ends the job for all.
    """

    def join(self, device: str) -> AbstractContextManager[Peers]:
        """Within, this process evaluates together with its peers, of whom its launcher told it (RANK, WORLD_SIZE)."""
        ...


class Engine(Protocol):
    """Where jobs run. A job never raises: its result fails.

    Laws (tests/contracts/test_engines.py): every submitted job comes back exactly once; `wait` blocks until
    at least one has; the table of results is that of the local engine.
    """

    @property
    def slots(self) -> int:
        """How many jobs may be in flight now; the driver asks the scheduler for no more."""
        ...

    def submit(self, jobs: Sequence[Job]) -> None:
        """Start jobs; returns at once (or as soon as they are queued)."""
        ...

    def wait(self, timeout: float | None = None) -> list[Result]:
        """At least one result, in the order of completion; none only when `timeout` seconds have passed.

        Only called while jobs are in flight. An engine that runs jobs inside `wait` may take longer than the timeout.
        """
        ...

    def close(self) -> None:
        """Cancel what is in flight and give the slots back. Idempotent."""
        ...


class JobStore(Protocol):
    """Checkpoints and commits of one run, as seen from an executor. Picklable; safe to use from several threads.

    A job's checkpoint and its result are committed together by one atomic write, so whichever attempt comes
    first wins, and a job that finds its own commit returns the stored result without training again.
    """

    def committed(self, key: JobKey) -> Result | None:
        """The committed result of a job, or None."""
        ...

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        """Publish a result with its checkpoint; returns the winner (maybe another attempt's)."""
        ...

    def checkpoint(self, key: JobKey) -> bytes:
        """The checkpoint a committed job left. Raises JobError, naming the key, when there is none."""
        ...

    def origin(self, key: JobKey) -> str:
        """A name for the checkpoint a committed job left, unlike that of any other. Raises JobError when none is."""
        ...

    def keep(self, key: JobKey, state: bytes) -> None:
        """Leave a recovery checkpoint of a job under way, replacing the one before; removed at the job's commit."""
        ...

    def kept(self, key: JobKey) -> bytes | None:
        """The recovery checkpoint of a job, whoever wrote it; None where there is none, or a damaged one."""
        ...


class ResultLog(Protocol):
    """The results table of one run, as seen from the driver: append-only, and the state of the search."""

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Make rows durable; `asked` is the number of jobs handed out when these rows are told."""
        ...

    def rows(self) -> Iterable[tuple[Result, int]]:
        """Every row with its `asked`, in the order of appending."""
        ...


class Dataset(Protocol):
    """A prepared data set as the training sees it. Picklable: it opens its shards on the executor.

    Arrays: inputs `x` are [B, *input_shape], `y` is [B]; dtypes as stored (images: uint8).
    """

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, channels first: (C, H, W) for images, (F,) for vectors."""
        ...

    @property
    def classes(self) -> int:
        """Number of classes."""
        ...

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of the training split, in stored units."""
        ...

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of the training split, in stored units."""
        ...

    def rows(self, split: str) -> int:
        """Number of examples of a split. Raises DataError for an unknown split, naming those there are."""
        ...

    def batches(
        self, split: str, batch_size: int, *, seed: int | None = None, epoch: int = 0
    ) -> Iterator[tuple[NDArray[np.generic], NDArray[np.int64]]]:
        """One epoch. With a seed its order is a function of (seed, epoch) alone; without, the stored order.

        Every row comes once; the last batch may be short. Raises DataError when the shards hold fewer rows
        than the descriptor says.
        """
        ...
