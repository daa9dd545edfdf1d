"""From an experiment's section `tracking` to what watches the search: all here that knows of parts and reports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spark_nas.errors import ConfigError, OptionError
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.view import RunView
from spark_nas.search.records import Job, Result
from spark_nas.tracking.tracked import Tracked

if TYPE_CHECKING:
    from spark_nas.assemble import Parts
    from spark_nas.driver import Observer

Rows = Callable[[], Iterable[tuple[Result, int]]]
"""Reads a results table."""


class Observers:
    """Several `driver.Observer` as one."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def on_asked(self, jobs: Sequence[Job]) -> None:
        """Jobs were handed out."""
        for observer in self._observers:
            observer.on_asked(jobs)

    def on_result(self, result: Result) -> None:
        """A result's row is durable."""
        for observer in self._observers:
            observer.on_result(result)

    def on_wait(self) -> None:
        """Time has passed."""
        for observer in self._observers:
            observer.on_wait()

    def on_done(self) -> None:
        """The search is over, or interrupted."""
        for observer in self._observers:
            observer.on_done()


@contextlib.contextmanager
def tracked_too(
    observer: Observer,
    parts: Parts,
    root: str,
    record: Mapping[str, Any],
    rows: Rows,
) -> Iterator[Observer]:
    """`observer`, joined by the tracker that the experiment names, which ends with the context.

    `root` is the run's folder, `rows` reads its table. Raises ConfigError for what the tracker refuses.
    """
    options = parts.experiment.tracking
    if options is None:
        yield observer
        return
    run_id = str(record["run_id"])
    name = run_id + root.rpartition(f"/{run_id}")[2]  # a retraining lies in a folder of the run that it belongs to
    try:
        tracker = options.build(Tracked(name, root, record, lambda: _page(parts, name, record, rows)))
    except OptionError as error:
        key = "tracking.name" if error.key == "tracking" else f"tracking.{error.key}"
        raise ConfigError(parts.experiment.file, key, error.value, error.remedy) from error
    with tracker:
        yield Observers(observer, tracker)


def _page(parts: Parts, name: str, record: Mapping[str, Any], rows: Rows) -> str | None:
    """The report page; None without the packages that it needs."""
    try:
        from spark_nas.report.page import render
    except ImportError:
        return None
    results = [result for result, _ in rows()]
    best = incumbent(results)
    trial = best.job.trial if best is not None else None
    graph = parts.experiment.space.graph(trial.architecture, trial.recipe) if trial is not None else None
    return render(RunView(name, record, results, graph=graph))
