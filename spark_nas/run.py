"""A run as a program or a notebook sees it: its leaderboard and whole table as DataFrames, its best trial, its report.

A `Run` is what stood in the run's folder when it was loaded, and never changes; `spark_nas.load_run` again looks anew.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spark_nas.commands import runs
from spark_nas.commands.report import view_of, write_report
from spark_nas.commands.retrain import headline
from spark_nas.report.leaderboard import incumbent, leaderboard
from spark_nas.report.notebook import leaderboard_html
from spark_nas.report.view import RunView, number
from spark_nas.search.records import RecipeValue

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]

_SHOWN = 10
"""Trials in what a notebook shows of a run."""


@dataclass(frozen=True)
class Best:
    """The incumbent: the best completed trial at the highest resource that any trial has reached."""

    trial_id: int
    architecture: Mapping[str, str]
    """Choice -> option; empty where the space has no choices."""
    recipe: Mapping[str, RecipeValue]
    """Hyperparameter -> value."""
    loss: float
    """The objective on the validation split, lower is better; with `Training` the share of wrong answers in [0, 1]."""
    metrics: Mapping[str, float]
    """What else was measured at `resource`."""
    resource: int
    """Training so far, in epochs unless the evaluator says otherwise."""
    seed: int
    """All randomness of its training."""


@dataclass(frozen=True)
class Report:
    """A report page that was written; in a notebook it shows where it is."""

    location: str
    """A path, or a URI on an object store."""
    html: str = field(repr=False)
    """The page itself, some 5 MB with all of its scripts: `displayHTML(report.html)` shows it on Databricks."""

    def _repr_html_(self) -> str:
        where = html.escape(self.location)
        return f'Report: <a href="{where}" target="_blank">{where}</a>'


@dataclass(frozen=True)
class Run:
    """What a search has left so far, finished or not."""

    location: str
    """The run's folder: OUTPUT/RUN_ID."""
    view: RunView = field(repr=False)
    """Record and rows, as the figures of `spark_nas.report` take them."""
    opened: runs.Run = field(repr=False, compare=False)
    """The store and the experiment, as the commands have them."""

    @staticmethod
    def of(opened: runs.Run) -> Run:
        """What is there now. Raises OutputError for a damaged table."""
        return Run(opened.files.root, view_of(opened), opened)

    @property
    def run_id(self) -> str:
        """The name of the run."""
        return self.view.run_id

    @property
    def record(self) -> Mapping[str, Any]:
        """`run.json`: the whole experiment, seeds, versions, code revision and data fingerprint."""
        return self.opened.record

    @property
    def retrained(self) -> Mapping[str, float] | None:
        """What `retrain` found of the best trial: `test_accuracy` in [0, 1], epochs, seeds; None before it."""
        return self.view.retrained

    @property
    def best(self) -> Best | None:
        """The incumbent; None while no trial has completed."""
        result = incumbent(self.view.results)
        if result is None:
            return None
        trial = result.job.trial
        return Best(
            trial_id=trial.trial_id,
            architecture=dict(trial.architecture),
            recipe=dict(trial.recipe),
            loss=result.loss,
            metrics=dict(result.metrics),
            resource=result.job.resource,
            seed=trial.seed,
        )

    @cached_property
    def leaderboard(self) -> pd.DataFrame:
        """One row a trial that completed a job, best first: more resource, then less loss. The index is the rank.

        Columns: trial, loss, resource (epochs), bracket, rung, seconds (wall time of all of the trial's jobs), each
        metric, `recipe.NAME` of each hyperparameter, and architecture (a dict, choice -> option).
        """
        import pandas as pd

        lines = []
        for row in leaderboard(self.view.results, len(self.view.trials)):
            trial = self.view.by_key[row.trial, row.rung].job.trial  # type: ignore[index]  # a JobKey is such a tuple
            fixed = {name: getattr(row, name) for name in _COLUMNS}
            metrics = {name: value for name, value in row.metrics.items() if name not in fixed}
            recipe = {f"recipe.{name}": value for name, value in trial.recipe.items()}
            lines.append({**fixed, **metrics, **recipe, "architecture": dict(trial.architecture)})
        index = pd.RangeIndex(1, len(lines) + 1, name="rank")
        return pd.DataFrame(lines, index=index, columns=None if lines else [*_COLUMNS, "architecture"])

    @property
    def results(self) -> pd.DataFrame:
        """The whole table as it stands now, one row a job, in the columns of the README; metrics are dicts.

        Raises OutputError, naming the file, when a part cannot be read.
        """
        from spark_nas.storage.results import read_table

        return read_table(self.opened.files).to_pandas(maps_as_pydicts="strict")

    @property
    def figures(self) -> Mapping[str, Any]:
        """The report's plotly figures by name: incumbent, learning curves, rungs, workers, recipes; none that is empty.

        Needs plotly: the extra `report`.
        """
        from spark_nas.report.page import FIGURES

        drawn = {short.lower(): draw(self.view).figure for short, draw in FIGURES}
        return {name: figure for name, figure in drawn.items() if figure is not None}

    def report(self, top: int = 20) -> Report:
        """Write `report/report.html` into the run's folder, `top` trials long. Needs the extra `report`."""
        return Report(*write_report(self.opened, self.view, top))

    def __repr__(self) -> str:
        return f"Run({self.location!r}: {self._summary()})"

    def _repr_html_(self) -> str:
        name, summary, where = map(html.escape, (self.run_id, self._summary(), self.location))
        return f"<p><b>{name}</b>: {summary}, in {where}</p>{leaderboard_html(self.view, _SHOWN)}"

    def _summary(self) -> str:
        words = [f"{len(self.view.results):,} jobs, {len(self.view.trials):,} trials"]
        best = self.best
        if best is not None:
            after = self.view.units(best.resource)
            words.append(f"best loss {number(best.loss)} (trial {best.trial_id} after {after})")
        if self.retrained is not None:
            words.append(f"{headline(self.retrained)} when retrained")
        return ", ".join(words)


_COLUMNS = ("trial", "loss", "resource", "bracket", "rung", "seconds")
