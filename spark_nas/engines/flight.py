"""Who flies with whom: a trial that ends its Spark job is found, and no other pays for it. No Spark here.

A Spark job that fails takes everybody on board with it. When it names the task that it failed by, the first job of that
task without a commit is the suspect, and comes back `lost`; the others fly again without it, as often as that takes.
When it names none, those that may have done it fly in two halves. So each launch that fails finds a job, a commit, or
less to search: there are at most about twice as many as jobs, and whoever is not suspected comes back with a result.

A suspect may be innocent: a job that ends its executor takes down what else runs there. From then on it flies alone,
after the others, where it is harmed by none and harms none.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence, Set

from spark_nas.engines.spark_errors import FAILED_TASK, FAILED_TOGETHER
from spark_nas.engines.task import describe
from spark_nas.engines.worker import NOT_STARTED, Assignment
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.wire import result_from_json

_NAMELESS = 32
"""Failures that name no task, in one flight: by then two such jobs among 10,000 are found. What is left comes back."""

Batches = Sequence[Sequence[Assignment]]


class Flight:
    """The jobs of one flight, in boards: each is launched as a Spark job, with a task a batch.

    while (board := flight.board): launch it, then flight.landed(rows) or flight.failed(error, commits)
    """

    def __init__(self, batches: Batches, suspected: Set[JobKey], *, careful: bool, has_commits: bool) -> None:
        """`suspected`: by flights before. `careful`: every job that ends is committed; after a failure all are.

        `has_commits`: whether there is a store that says which jobs have ended.
        """
        self._everything = [assignment for batch in batches for assignment in batch]
        self.careful, self._has_commits = careful, has_commits
        self.found: dict[JobKey, Result] = {}
        self.suspects: set[JobKey] = set()
        """Whom this flight suspects."""
        self._waiting: set[JobKey] = set()
        self._nameless = 0
        alone = {job.key for job, _ in self._everything} & suspected
        together = _without(batches, alone) if alone else batches
        self._boards: deque[Batches] = deque([together] if together else [])
        self._boards.extend([[assignment]] for assignment in self._everything if assignment.job.key in alone)

    @property
    def board(self) -> Batches | None:
        """What to launch next; None when all have landed."""
        return self._boards[0] if self._boards else None

    def landed(self, rows: Sequence[str]) -> None:
        """The board's Spark job returned these rows."""
        board = self._boards.popleft()
        results = [result_from_json(row) for row in rows if row != NOT_STARTED]
        self.found |= {result.job.key: result for result in results}
        if len(rows) > len(results):
            self._waiting |= {job.key for batch in board for job, _ in batch if job.key not in self.found}

    def failed(self, error: Exception, committed: Mapping[JobKey, Result]) -> None:
        """The board's Spark job failed; `committed` are the results that the store has of it nevertheless."""
        board = self._boards.popleft()
        self.found |= committed
        match = FAILED_TASK.search(str(error))
        task = int(match[1]) if match is not None and int(match[1]) < len(board) else None
        accused = _without(board if task is None else [board[task]], self.found.keys())
        if task is not None and self.careful and self._has_commits:
            accused = [batch[:1] for batch in accused]
        keys = {job.key for batch in accused for job, _ in batch}
        if len(keys) > 1 and not self.careful:
            # Nobody is suspected while jobs may go without a commit: the next launch, in which all commit, will tell.
            keys, accused = set(), []
        self.careful = True
        halves: list[Batches] = []
        if len(keys) > 1 and self._nameless < _NAMELESS:
            self._nameless += 1
            halves = _halves(accused)
        else:
            self.found |= {job.key: _lost(job, n, error) for batch in accused for job, n in batch}
            self.suspects |= keys if len(keys) == 1 else set()
        rest = _without(board, keys | self.found.keys())
        self._boards.extendleft(reversed([part for part in (rest, *halves) if part]))

    def results(self) -> tuple[Result, ...]:
        """One for each job that was started, in the order of the batches; of a flight that was broken off, `lost`."""
        missing = "its Spark job ended without its result"
        return tuple(
            self.found.get(job.key) or Result(job, "lost", error=missing, attempt=attempt)
            for job, attempt in self._everything
            if job.key not in self._waiting
        )

    def not_started(self) -> tuple[Assignment, ...]:
        """The jobs that the time of their batch was too short for."""
        return tuple(assignment for assignment in self._everything if assignment.job.key in self._waiting)


def _without(board: Batches, keys: Set[JobKey]) -> Batches:
    return [rest for batch in board if (rest := [a for a in batch if a.job.key not in keys])]


def _halves(board: Batches) -> list[Batches]:
    """The board in two; a single batch is cut in its middle."""
    if len(board) > 1:
        middle = len(board) // 2
        return [board[:middle], board[middle:]]
    middle = len(board[0]) // 2
    return [[board[0][:middle]], [board[0][middle:]]]


def _lost(job: Job, attempt: int, error: Exception) -> Result:
    reason = FAILED_TASK.search(str(error)) or FAILED_TOGETHER.search(str(error))
    what = f"Spark gave its task up ({reason[0]})" if reason else "its Spark job ended"
    return Result(job, "lost", error=f"{what}: {describe(error)}", attempt=attempt)
