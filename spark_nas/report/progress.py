"""The progress of a search as it runs: live bars on a terminal, single lines in a log that is none, both in a notebook.

A log gets one line a round (jobs after which nothing flies); where rounds do not end, as in asynchronous search, one
line for every twentieth of the jobs, at most one a second. Half a minute without a line gets one in any case: it says
what is in flight.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import IO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from spark_nas.report.notebook import NotebookBar, in_notebook
from spark_nas.report.view import duration, total_jobs
from spark_nas.search.records import Job, JobKey, Result, best_first

_SILENCE = 30.0
"""Seconds after which a log gets a line although little happened."""
_PAUSE = 1.0
"""Seconds between two lines, unless a round ends."""


class Progress:
    r"""Shows a search to whoever watches; a `driver.Observer`, so it changes nothing.

    >>> import io
    >>> log = io.StringIO()
    >>> Progress(total_jobs=9, stream=log, clock=lambda: 0.0).on_done()
    >>> log.getvalue()
    'search ended: 0/9 jobs, 0 epochs, 0 failed, no usable result yet, after 0 s\n'
    """

    def __init__(
        self,
        *,
        total_jobs: int | None = None,
        stream: IO[str] | None = None,
        unit: str = "epochs",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`total_jobs` is what the scheduler plans or expects, None where it has no end.

        `stream` defaults to standard output.
        """
        self._console = Console(file=stream)
        self._total, self._unit, self._clock = total_jobs, unit, clock
        self._flying: dict[JobKey, Job] = {}
        self._reached: dict[JobKey, int] = {}
        self._per_rung: Counter[int] = Counter()
        self._done = self._failed = self._spent = self._in_round = self._last_done = 0
        self._best: Result | None = None
        self._began = self._last_line = clock()
        self._rounds = False
        """Whether several jobs have come back before more were asked for: then one alone is a round, too."""
        self._live: _LiveBars | NotebookBar | None = None
        self._logs = not self._console.is_terminal
        if not self._logs:
            self._live = _LiveBars(self._console, total_jobs)
        elif stream is None and in_notebook():
            self._live = NotebookBar(total_jobs, clock)

    def on_asked(self, jobs: Sequence[Job]) -> None:
        """Jobs were handed out."""
        if not self._flying:
            self._in_round = 0
        self._flying.update((job.key, job) for job in jobs)
        self._in_round += len(jobs)
        self._refresh()

    def on_result(self, result: Result) -> None:
        """A result is there."""
        job = result.job
        self._flying.pop(job.key, None)
        self._done += 1
        self._failed += not result.usable
        self._per_rung[job.resource] += 1
        if result.status == "completed":
            start = self._reached.get(job.start_from, 0) if job.start_from is not None else 0
            self._spent += max(0, job.resource - start)
            self._reached[job.key] = job.resource
        else:
            self._spent += len(result.curve)
        if result.usable and (self._best is None or best_first(result) < best_first(self._best)):
            self._best = result
        self._refresh()
        if self._logs and self._line_is_due():
            self._line(self.status())

    def on_wait(self) -> None:
        """Time has passed."""
        if self._logs and self._clock() - self._last_line >= _SILENCE:
            self._line(self.status())

    def on_done(self) -> None:
        """The search is over, or interrupted. Idempotent on a terminal."""
        if self._live is not None:
            self._refresh()
            self._live.stop()
        if self._logs:
            self._line(f"search ended: {self.status()}, after {duration(self._clock() - self._began)}")

    def status(self) -> str:
        """Where the search stands, on one line."""
        jobs = f"{self._done:,}"
        if self._total is not None:
            jobs += f"/{total_jobs(self._total, self._done + len(self._flying))[1]}"
        parts = [f"{jobs} jobs", f"{self._spent:,} {self._unit}", f"{self._failed:,} failed"]
        if self._flying:
            parts.insert(1, f"{len(self._flying)} in flight")
        if self._per_rung:
            rungs = " ".join(f"{level}:{count}" for level, count in sorted(self._per_rung.items()))
            parts.append(f"jobs by {self._unit} {rungs}")
        return ", ".join([*parts, self.incumbent()])

    def incumbent(self) -> str:
        """The best result at the highest resource, in words."""
        if self._best is None:
            return "no usable result yet"
        job = self._best.job
        accuracy = next((f", {name} {self._best.metrics[name]:.4f}" for name in sorted(self._best.metrics)
                         if "accuracy" in name), "")  # fmt: skip
        return f"best loss {self._best.loss:.4g}{accuracy} (trial {job.trial.trial_id}, {self._unit}: {job.resource})"

    def _line_is_due(self) -> bool:
        if not self._flying:
            self._rounds = self._rounds or self._in_round > 1
            if self._rounds:
                return True
        step = max(1, -(-self._total // 20)) if self._total is not None else max(20, self._done // 20)
        silent = self._clock() - self._last_line
        # A stage's results come all at once: its round's line says it all.
        return (self._done - self._last_done >= step and silent >= _PAUSE) or silent >= _SILENCE

    def _line(self, words: str) -> None:
        self._last_line, self._last_done = self._clock(), self._done
        self._console.file.write(words + "\n")
        self._console.file.flush()

    def _refresh(self) -> None:
        if self._live is not None:
            rungs = "  ".join(f"{level} {self._unit}: {count:,}" for level, count in sorted(self._per_rung.items()))
            lines = [self.incumbent(), f"jobs done by rung  {rungs}" if rungs else "no job done yet"]
            detail = f"{len(self._flying)} in flight, {self._spent:,} {self._unit}, {self._failed:,} failed"
            self._live.show(self._done, self._done + len(self._flying), detail, lines)


class _LiveBars:
    """A bar of jobs with two lines below it, redrawn in place four times a second."""

    def __init__(self, console: Console, total: int | None) -> None:
        self._total = total
        self._bars = Bars(
            SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
            TextColumn("{task.fields[jobs]}", style="progress.download", markup=False), TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False), console=console,
        )  # fmt: skip
        self._task: TaskID = self._bars.add_task("search", total=total, jobs="", detail="")
        self._lines: list[str] = []
        self._live = Live(get_renderable=self._render, console=console, refresh_per_second=4)
        self._live.start()

    def show(self, done: int, asked: int, detail: str, lines: list[str]) -> None:
        """New numbers; the total is the jobs handed out so far where that is more than planned, or nothing was."""
        self._lines = lines
        total, words = total_jobs(self._total, asked)
        self._bars.update(self._task, completed=done, total=total, jobs=f"{done:,}/{words}", detail=detail)

    def stop(self) -> None:
        """Draw once more and leave it standing."""
        self._live.stop()

    def _render(self) -> Group:
        return Group(self._bars.get_renderable(), *(Text(f"  {line}") for line in self._lines))
