"""MLflow: one parent run a search, a nested run a trial, with curves by resource, and its recipe and architecture.

Only the driver calls the tracking server: executors have no credentials on Databricks. What is on the server decides
what is still to be logged: a search that is continued finds its parent run by a tag and its trials' runs by theirs,
which say the rungs they have. Time stamps are those of the results, so that a call that is repeated because nobody
knows whether it arrived writes the same rows again, which a database backend keeps once.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from spark_nas.errors import OptionError
from spark_nas.search.records import JobKey, Result
from spark_nas.tracking.background import Background
from spark_nas.tracking.tracked import Best, Ending, Tracked, instant, measurements, parameters

if TYPE_CHECKING:
    from mlflow.entities import Param, Run
    from mlflow.tracking import MlflowClient

_MAX_KEY, _MAX_PARAMETER, _MAX_TAG = 250, 6000, 5000
"""Characters that every server since MLflow 2.8, Databricks' included, takes."""
_PAGE = 1000
_UNFIT = re.compile(r"[^A-Za-z0-9_\-./ ]")
_STATUS: Mapping[Ending, str] = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Mlflow:
    """Options of tracking by MLflow."""

    experiment: str | None = None
    """MLflow's experiment, made where there is none; on Databricks a path of the workspace. None: what
    MLFLOW_EXPERIMENT_NAME says, or spark_nas."""
    uri: str | None = None
    """The tracking server or database, without secrets: those belong into MLFLOW_TRACKING_USERNAME, _PASSWORD or
    _TOKEN. None: what MLFLOW_TRACKING_URI says; on Databricks the workspace."""
    queue: int = 10_000
    """How many results may wait for the server; more are left out, and said to be."""
    end_seconds: float = 60.0
    """How long the end of a search may wait for what is still in the queue."""

    def __post_init__(self) -> None:
        if self.uri is not None and "@" in urlsplit(self.uri).netloc and self.uri.startswith("http"):
            shown = re.sub(r"//[^/]*@", "//***@", self.uri)
            remedy = "keep secrets out of experiments: put them into MLFLOW_TRACKING_USERNAME and _PASSWORD"
            raise OptionError("uri", shown, remedy)
        if self.queue < 1:
            raise OptionError("queue", self.queue, "give at least 1")
        if not self.end_seconds >= 0:
            raise OptionError("end_seconds", self.end_seconds, "give at least 0")

    def build(self, tracked: Tracked) -> Background:
        """The tracker; the server is called by its thread. Raises OptionError where mlflow is not installed."""
        if find_spec("mlflow") is None:
            raise OptionError("tracking", "mlflow", "needs the package: pip install 'spark_nas[mlflow]'")
        return Background(Runs(tracked, self), size=self.queue, patience=self.end_seconds)


class Runs:
    """`tracked.Sink`: the runs of one search on a tracking server."""

    name = "MLflow"

    def __init__(self, tracked: Tracked, options: Mlflow) -> None:
        self._tracked, self._options = tracked, options
        self._runs: dict[int, str] = {}
        """Trial -> id of its run."""
        self._rungs: dict[int, set[int]] = {}
        """Trial -> rungs that are logged."""
        self._parent = self._experiment = ""
        self._best_steps: set[int] = set()

    def open(self) -> None:
        """Find the experiment, the parent run and the trials' runs, or make the first two."""
        # A line on standard output for every run that ends would drown a search's own.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow.tracking import MlflowClient

        self._client: MlflowClient = MlflowClient(tracking_uri=self._options.uri)
        name = self._options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "spark_nas"
        experiment = self._client.get_experiment_by_name(name)
        self._experiment = experiment.experiment_id if experiment else self._make_experiment(name)
        parent = self._find_parent() or self._make_parent()
        self._parent = str(parent.info.run_id)
        self._describe(parent)
        self._client.update_run(self._parent, status="RUNNING")
        history = self._client.get_metric_history(self._parent, "best_loss")
        self._best_steps = {metric.step for metric in history}
        for run in self._search(f"tags.`mlflow.parentRunId` = '{self._parent}'"):
            tags = run.data.tags
            if "spark_nas.trial" not in tags:  # somebody has nested a run of their own there
                continue
            trial = int(tags["spark_nas.trial"])
            self._runs[trial] = run.info.run_id
            self._rungs[trial] = {int(rung) for rung in tags.get("spark_nas.rungs", "").split(",") if rung}

    def write(self, results: Sequence[Result]) -> None:
        """One call for what is measured, one for the status; two more for a new trial."""
        new = [result for result in results if not self.has(result.job.key)]
        if not new:
            return
        from mlflow.entities import Metric, RunTag

        trial = new[0].job.trial.trial_id
        rungs = {*self._rungs.get(trial, ()), *(result.job.rung for result in new)}
        tags = [RunTag("spark_nas.rungs", ",".join(map(str, sorted(rungs))))]
        tags += [RunTag("spark_nas.error", result.error[:_MAX_TAG]) for result in new if result.error]
        if trial not in self._runs:
            self._runs[trial] = self._make_trial(new[0])
        metrics = [
            Metric(_key(name), value, _milliseconds(result), step)
            for result in new
            for name, value, step in measurements(result)
        ]
        run = self._runs[trial]
        self._client.log_batch(run, metrics=metrics)
        self._client.log_batch(run, params=self._parameters(run, new[0]), tags=tags)  # what is logged, after it is
        status = "FINISHED" if new[-1].status == "completed" else "FAILED"
        self._client.set_terminated(run, status, _milliseconds(new[-1]))
        self._rungs[trial] = rungs

    def improve(self, bests: Sequence[Best]) -> None:
        """The parent's curve: the best loss so far by number of results."""
        from mlflow.entities import Metric

        new = [best for best in bests if best.results not in self._best_steps]
        metrics = [Metric("best_loss", best.loss, int(1000 * best.instant), best.results) for best in new]
        self._client.log_batch(self._parent, metrics=metrics)
        self._best_steps |= {best.results for best in new}

    def has(self, key: JobKey) -> bool:
        """Whether a job is logged."""
        return key.rung in self._rungs.get(key.trial_id, ())

    def finish(self, ending: Ending) -> None:
        """Record and report as artefacts, and the search's own status."""
        record = json.dumps(self._tracked.record, indent=2, sort_keys=True, default=str)
        self._client.log_text(self._parent, record, "run.json")
        if (page := self._tracked.page()) is not None:
            self._client.log_text(self._parent, page, "report.html")
        self._client.set_terminated(self._parent, _STATUS[ending])

    def _make_experiment(self, name: str) -> str:
        return self._client.create_experiment(name, _beside_database(str(self._client.tracking_uri)))

    def _find_parent(self) -> Run | None:
        return next(self._search(f"tags.`spark_nas.search` = '{self._tracked.identity}'"), None)

    def _make_parent(self) -> Run:
        tracked = self._tracked
        tags = {
            "spark_nas.search": tracked.identity,
            "spark_nas.run_id": tracked.run_id,
            "spark_nas.location": tracked.location[:_MAX_TAG],
        }
        return self._client.create_run(self._experiment, tags=tags, run_name=tracked.run_id)

    def _describe(self, parent: Run) -> None:
        """Add the experiment's parameters that are not there: a call that failed may have made the run and no more.

        Those that are there stay, for MLflow refuses another value; a search that goes on may have another engine.
        """
        fitting, _ = _fitting(dict(_flat(self._tracked.record["experiment"])))
        if missing := [param for param in fitting if param.key not in parent.data.params]:
            self._client.log_batch(self._parent, params=missing)

    def _make_trial(self, result: Result) -> str:
        trial = result.job.trial
        tags = {
            "mlflow.parentRunId": self._parent,
            "spark_nas.trial": str(trial.trial_id),
            "spark_nas.rungs": "",
        }
        began = int(1000 * result.started_at.timestamp())
        run = self._client.create_run(self._experiment, began, tags, run_name=f"trial {trial.trial_id}")
        return str(run.info.run_id)

    def _parameters(self, run: str, result: Result) -> list[Param]:
        """The trial's, if they are not there yet; where MLflow cannot hold them whole, also as an artefact."""
        trial = result.job.trial
        if self._rungs.get(trial.trial_id):
            return []
        values = parameters(trial)
        fitting, whole = _fitting(values)
        if not whole:
            self._client.log_text(run, json.dumps(values, indent=2), "trial.json")
        return fitting

    def _search(self, condition: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([self._experiment], condition, max_results=_PAGE, page_token=token)
            yield from page
            if not (token := page.token):
                return


def _beside_database(uri: str) -> str | None:
    """Where the artefacts of an SQLite file go: MLflow itself would use the working folder. None: where MLflow says.

    >>> _beside_database("sqlite:////data/x.db")
    'file:///data/x-artifacts'
    """
    scheme, _, path, _, _ = urlsplit(uri)
    if scheme.partition("+")[0] != "sqlite" or path in ("", "/", "/:memory:"):
        return None
    database = Path(path.removeprefix("/")).absolute()
    return database.with_name(f"{database.stem}-artifacts").as_uri()


def _milliseconds(result: Result) -> int:
    return int(1000 * instant(result))


def _key(name: str) -> str:
    """A name that MLflow takes."""
    return _UNFIT.sub("_", name)[:_MAX_KEY]


def _fitting(values: Mapping[str, object]) -> tuple[list[Param], bool]:
    """Parameters that MLflow takes, and whether they say all: names and values are neither cut nor merged."""
    from mlflow.entities import Param

    fitting = {_key(name): str(value)[:_MAX_PARAMETER] for name, value in values.items()}
    whole = fitting == {name: str(value) for name, value in values.items()}
    return [Param(name, value) for name, value in fitting.items()], whole


def _flat(section: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in section.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
