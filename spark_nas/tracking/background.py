"""A tracker's thread and its bounded queue: a tool that is slow or gone costs a search nothing but its picture there.

What does not fit in the queue, or what the tool refuses, is left out, counted, and said at the end. Nothing is lost:
the rows are in the results table, and the same command again adds what is missing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

from spark_nas.errors import Unfinished
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.tracking.tracked import Best, Ending, Incumbent, Sink

_AT_ONCE = 200
"""Results taken from the queue together: those of one trial become one call."""
_SLOW_SECONDS = 15.0
_STOPPED_SECONDS = 10.0

_log = logging.getLogger(__name__)


class Background:
    """Feeds a `Sink` from a thread of its own: a `driver.Observer`, and a context that begins and ends with the search.

    Leaving it waits for what is in the queue, for `patience` seconds at the most (10 where the search was cut short).
    """

    def __init__(
        self,
        sink: Sink,
        *,
        size: int = 10_000,
        patience: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`size`: how many results may wait."""
        self._sink, self._size, self._patience, self._clock = sink, size, patience, clock
        self._queue: deque[Result] = deque()
        self._incumbent, self._bests = Incumbent(), list[Best]()
        self._changed = threading.Condition()
        self._missed: set[JobKey] = set()
        self._at_hand = 0
        """Results taken from the queue that are neither written nor missed yet."""
        self._ending: Ending | None = None
        self._opened = self._warned = self._given_up = False
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"tracking by {sink.name}")

    def on_asked(self, jobs: Sequence[Job]) -> None:
        """Nothing is shown of a job before its result."""

    def on_result(self, result: Result) -> None:
        """Queue a result. Never waits, never raises."""
        best = self._incumbent.told(result)
        with self._changed:
            if best is not None:
                self._bests.append(best)
            if len(self._queue) < self._size:
                self._queue.append(result)
                self._changed.notify()
            else:
                self._missed.add(result.job.key)
            since = self._busy_since
        if since is not None and self._clock() - since > _SLOW_SECONDS:
            self._warn(f"no answer for {_SLOW_SECONDS:g} s")

    def on_wait(self) -> None:
        """Time is no news."""

    def on_done(self) -> None:
        """How the search ended is known only when the context is left."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        cut_short = isinstance(error, Unfinished | KeyboardInterrupt)
        with self._changed:
            self._ending = "stopped" if cut_short else "finished" if error is None else "failed"
            self._changed.notify()
        self._thread.join(self._patience if error is None else min(self._patience, _STOPPED_SECONDS))
        with self._changed:
            self._given_up = True
            missed = len(self._queue) + self._at_hand + len(self._missed)
        if missed:
            _log.warning(
                "%s: %d results are not shown there; all are in the results table, and the same command adds them",
                self._sink.name,
                missed,
            )

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._queue and self._ending is None:
                    self._changed.wait()
                batch = [self._queue.popleft() for _ in range(min(_AT_ONCE, len(self._queue)))]
                self._at_hand = len(batch)
                bests, self._bests = self._bests, []
            if bests:
                self._try(partial(self._sink.improve, bests), ())
            trials: dict[int, list[Result]] = {}
            for result in batch:
                trials.setdefault(result.job.trial.trial_id, []).append(result)
            for results in trials.values():
                self._try(partial(self._sink.write, results), results)
            if not batch:  # nobody wakes this thread for nothing: it is the end
                if self._missed:
                    self._try(self._look_again, ())
                self._try(self._finish, ())
            if not batch or self._given_up:
                return

    def _look_again(self) -> None:
        """What an earlier invocation has left there is not missed; asked by this thread, for the tool may be gone."""
        there = {key for key in self._missed if self._sink.has(key)}
        with self._changed:
            self._missed -= there

    def _finish(self) -> None:
        self._sink.finish(self._ending or "failed")

    def _try(self, step: Callable[[], None], results: Sequence[Result]) -> None:
        """Do a step; whatever it raises is not the search's business."""
        if self._given_up:
            return
        self._busy_since = self._clock()
        try:
            if not self._opened:
                self._sink.open()
                self._opened = True
            step()
        except Exception as error:
            with self._changed:
                self._missed.update(result.job.key for result in results)
            self._warn((str(error) or type(error).__name__).splitlines()[0][:300])
        with self._changed:
            self._at_hand -= len(results)
            self._busy_since = None

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("%s: %s; the search goes on without waiting for it", self._sink.name, reason)
