"""Finding, opening and viewing runs: what the commands share."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from spark_nas.assemble import Parts, assemble, parse_experiment
from spark_nas.commands.store import add_store_argument, open_store, other_sections, store_options, store_section
from spark_nas.config import Experiment
from spark_nas.errors import OutputError
from spark_nas.object_store import StorageOptions
from spark_nas.search.records import Result
from spark_nas.storage.files import Files
from spark_nas.storage.locations import open_files
from spark_nas.storage.record import check_run_id, read_record
from spark_nas.storage.results import ParquetLog

RETRAINED = "retrained.json"
_TABLES = ("latency", "resources")
"""Options of methods that name a file with a table."""


def run_files(output: str, run_id: str, storage: StorageOptions | None = None) -> Files:
    """The files of a run below `output`, a path or a URI. Raises OutputError for a place that cannot be used."""
    return open_files(output, storage).below(check_run_id(run_id))


def recorded_experiment(
    record: Mapping[str, Any], raw: Mapping[str, Any] | None = None, folders: Sequence[Path] = ()
) -> Experiment:
    """What was searched, by the record of a run; `raw` instead of the experiment there, `folders` as in `config.parse`.

    A table that its method has read from a file is the one in the record: a run is opened where that file is not, or
    is another one by now.
    """
    raw = record["experiment"] if raw is None else raw
    table = (record.get("identity", {}).get("method") or {}).get("table")
    section = raw.get("method")
    if not (isinstance(table, dict) and table.keys() == {"fixed", "options"} and isinstance(section, dict)):
        return parse_experiment(raw, record["file"], folders)
    return parse_experiment({**raw, "method": with_table(section, table)}, record["file"], folders)


def with_table(method: Mapping[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    """A section `method` whose table stands in it, where it named a file."""
    return {key: table if key in _TABLES and value else value for key, value in method.items()}


def add_run_argument(parser: argparse.ArgumentParser, **store: str) -> None:
    """`RUN`: the folder of a run, as `search` prints it; and `--set`, with what `add_store_argument` takes."""
    parser.add_argument("run", help="folder of the run, a path or a URI: OUTPUT/RUN_ID")
    add_store_argument(parser, **store)


class Run:
    """A run that has begun: its record, its experiment and its rows."""

    def __init__(
        self,
        folder: str,
        settings: Sequence[str] = (),
        modules: Sequence[Path] = (),
        also: Sequence[str] = (),
    ) -> None:
        """Open the run in `folder`; `settings` (`storage.KEY=VALUE`) say more about its store than its record does.

        `modules` are folders with modules of the user's own; `also` names sections of the experiment that `settings`
        may change, too. Raises OutputError when there is no run.
        """
        self._modules = modules
        self.files: Files = open_store(folder, settings, also)
        record = read_record(self.files)
        if record is None:
            raise OutputError(f"{self.files.root}: no run has begun here; give OUTPUT/RUN_ID of `spark-nas search`")
        self.record: Mapping[str, Any] = record
        self._raw = other_sections(record["experiment"], settings)
        section = {**(self._raw.get("storage") or {}), **store_section(settings, also)}
        if section:
            self._raw["storage"] = section
            storage = store_options(section)
            if storage != StorageOptions():  # the record was found by what the environment says
                self.files = open_files(folder, storage)
        self.log = ParquetLog(self.files, record["run_id"], record["environment"])

    @cached_property
    def experiment(self) -> Experiment:
        """What was searched. Rows can be read without it: it needs the code of components of the user's own."""
        return recorded_experiment(self.record, self._raw, self._modules)

    def results(self) -> list[Result]:
        """All rows in order."""
        return [result for result, _ in self.log.rows()]

    def parts(self) -> Parts:
        """The experiment's objects. Raises OutputError when the data set is not the one that was searched on."""
        parts = assemble(self.experiment)
        identity = parts.identity()
        for key in ("data", "data_order"):
            was, now = self.record["identity"].get(key), identity.get(key)
            if was != now:
                raise OutputError(
                    f"{self.files.root}: searched on {key} {was}, but the data section now leads to {now}"
                )
        return parts

    def retrained(self) -> Mapping[str, Any] | None:
        """What `retrain` has left, or None. Raises OutputError when it cannot be read."""
        content = self.files.read(RETRAINED)
        if content is None:
            return None
        try:
            summary = json.loads(content)
            _check_retrained(summary)
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            remedy = "`spark-nas retrain` writes it anew"
            raise OutputError(
                f"{self.files.root}/{RETRAINED} is not what retraining leaves: {error}; {remedy}"
            ) from error
        return dict(summary)


def _check_retrained(summary: object) -> None:
    """Raise ValueError unless it is a summary as `retrain` makes it, all finite numbers."""
    if not isinstance(summary, dict):
        raise ValueError(f"{summary!r} is no mapping")
    measure = "test_perplexity" if "test_perplexity" in summary else "test_accuracy"
    for name in ("trial_id", "epochs", "seeds", measure, f"{measure}_std", *summary):
        if name not in summary:
            raise ValueError(f"it has no {name}")
        if type(summary[name]) not in (int, float) or not math.isfinite(summary[name]):
            raise ValueError(f"{name} is {summary[name]!r}")
