"""Deletes what a run no longer needs: checkpoints that can no longer be promoted, and what killed attempts left.

The scheduler says what it needs (`Scheduler.needed`); the checkpoint of the incumbent, which is the one that reports
name, is always kept. A result is never deleted, so a job that has a row is never trained again. Deleting is done beside
the search, by threads of its own, and is never needed for anything to be right: what cannot be deleted now is when the
run is continued.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

from spark_nas.errors import JobError
from spark_nas.search.records import JobKey, Result, incumbent
from spark_nas.storage.disk import is_temporary
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.jobs import CHECKPOINTS, COMMIT, folder_of, read_commit
from spark_nas.storage.parts import FOLDER as RESULTS

_LEAST = 20
_SHARE = 4
_LAST_SECONDS = 2.0
_OF_A_KILLED_WRITER = 3600.0
"""Seconds after which a file half written is believed to be nobody's, where no commit says so."""

_log = logging.getLogger(__name__)


class _Task(NamedTuple):
    """A job's folder to be swept."""

    key: JobKey
    keep_checkpoint: bool


class Housekeeper:
    """Sweeps behind a search. `after` and `close` are called by the thread that drives the scheduler, nothing else is.

    `after` asks `needed` when a quarter of the checkpoints there are is new, which makes its cost a small number of
    passes over all trials, however long the search; it never waits for the store.
    """

    def __init__(self, files: Files, needed: Callable[[], set[JobKey]], *, threads: int = 4) -> None:
        self._files, self._needed = files, needed
        self._there: set[JobKey] = set()
        """Completed jobs whose checkpoints have not been given up."""
        self._best: Result | None = None
        self._new = 0
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._hurry = threading.Event()
        self.deleted = self.failed = 0
        """Files deleted, and folders that could not be swept, so far."""
        self._counts = threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def after(self, results: Sequence[Result]) -> None:
        """Results that the scheduler has been told, whose rows are durable; on continuing a run, all its rows."""
        for result in results:
            key = result.job.key
            if result.status == "failed":
                self._tasks.put(_Task(key, keep_checkpoint=False))
                continue
            self._there.add(key)
            self._new += 1
            if result.attempt > 1:  # an attempt has died, and may have left something
                self._tasks.put(_Task(key, keep_checkpoint=True))
            self._best = incumbent([result] if self._best is None else [self._best, result])
        if self._new >= max(_LEAST, len(self._there) // _SHARE):
            self._look()

    def close(self, seconds: float = 30.0) -> None:
        """Look once more, sweep for at most so long, and end the threads. Idempotent."""
        if not self._threads:
            return
        self._look()
        for _ in self._threads:
            self._tasks.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._hurry.set()
        for thread in self._threads:
            thread.join(_LAST_SECONDS)  # for the folder that it is at; a store that hangs is left to itself
        self._threads.clear()
        if self.failed:
            _log.warning("%s: %d folders could not be swept; they will be later", self._files.root, self.failed)

    def _look(self) -> None:
        """Give up the checkpoints that nobody needs now: nobody ever will (`Scheduler.needed`)."""
        self._new = 0
        best = {self._best.job.key} if self._best is not None else set()
        for key in sorted(self._there - self._needed() - best):
            self._there.remove(key)
            self._tasks.put(_Task(key, keep_checkpoint=False))

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None and not self._hurry.is_set():
            try:
                deleted = sweep(self._files, task.key, keep_checkpoint=task.keep_checkpoint)
            except Exception as error:  # out of reach, say: the search does not depend on it
                with self._counts:
                    self.failed += 1
                _log.debug("cannot sweep job %s: %s", tuple(task.key), error)
            else:
                with self._counts:
                    self.deleted += deleted


def sweep(files: Files, key: JobKey, *, keep_checkpoint: bool) -> int:
    """Delete what lies in the folder of a job: all but its commit and, maybe, its checkpoint.

    Giving up the checkpoint is for a job that has its row. Where it is kept the job need not be committed: then an
    attempt may be at work, and what it writes stays. Returns how many files were deleted. An attempt that still runs
    may leave a file afterwards; its result is not used anyhow. Raises JobError when a commit that says what to keep
    cannot be read: then all is kept.
    """
    folder = folder_of(key)
    listed = {*files.list(folder)}
    names = listed - {COMMIT}
    if names and keep_checkpoint:
        commit = read_commit(files, key)
        names -= {commit.checkpoint} if commit is not None else names
    for name in sorted(names):
        files.delete(f"{folder}/{name}")
    youngest = _OF_A_KILLED_WRITER if keep_checkpoint and COMMIT not in listed else 0.0
    return len(names) + (_sweep_temporary(files, folder, youngest) if isinstance(files, LocalFiles) else 0)


def sweep_all(files: Files) -> int:
    """Sweep every job's folder of a run that no driver holds, keeping all commits and their checkpoints.

    What killed writers have begun goes from the run's own folder and that of its results, too. Returns how many files
    were deleted. What is not committed, or cannot be read, stays, save for temporary files that are an hour old: a
    worker may outlive its driver, and a lease be misjudged.
    """
    deleted = 0
    if isinstance(files, LocalFiles):
        deleted += sum(_sweep_temporary(files, folder, _OF_A_KILLED_WRITER) for folder in ("", RESULTS))
    for trial in filter(str.isdecimal, files.folders(CHECKPOINTS)):
        for rung in filter(str.isdecimal, files.folders(f"{CHECKPOINTS}/{trial}")):
            with contextlib.suppress(JobError):
                deleted += sweep(files, JobKey(int(trial), int(rung)), keep_checkpoint=True)
    return deleted


def _sweep_temporary(files: LocalFiles, folder: str, youngest: float) -> int:
    """What writers that were killed have begun, which `list` does not show; only what is so many seconds old."""
    deleted, now = 0, time.time()
    for path in filter(is_temporary, (Path(files.root) / folder).glob(".*")):
        with contextlib.suppress(FileNotFoundError):  # a writer is done with it
            if path.is_file() and now - path.stat().st_mtime >= youngest:
                path.unlink()
                deleted += 1
    return deleted
