"""ASHA and Hyperband on recorded learning curves: the top 1 % for at most a tenth of the epochs.

Measured: TaskSet, 1,000 optimisers a task, up to a quarter of which diverge. Not measured: 10,000 networks a task,
whose curves come from a surrogate, a model fitted on LCBench (YAHPO Gym's).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from spark_nas.config import Budget
from spark_nas.driver import run
from spark_nas.engines.simulated import Simulated
from spark_nas.evaluation.tables import lcbench, taskset
from spark_nas.evaluation.tables.rows import CurveTable
from spark_nas.evaluation.tabular import Tabular
from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import Result
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.spaces.recipes import RecipeSpace
from spark_nas.spaces.table import TableRows

FILES = {"taskset": "tabular/taskset_textrnn12_adam8p.npz", "lcbench": "tabular/lcbench_surrogate_10k_curves.npz"}
TASKS = [
    ("taskset", "imdb_patch128_LSTM128_avg_bs64"),
    ("taskset", "imdb_patch32_GRU128_bs128"),
    ("taskset", "imdb_patch32_IRNN64_relu_avg_bs128"),
    ("taskset", "imdb_patch32_IRNN64_relu_last_bs128"),
    ("taskset", "imdb_patch32_VRNN64_relu_avg_bs128"),
    ("lcbench", "189908"),
    pytest.param("lcbench", "7593", marks=pytest.mark.exhaustive),
    pytest.param("lcbench", "167200", marks=pytest.mark.exhaustive),
]
WORKERS = 16


class Log:
    """Rows in memory."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def append(self, results: Sequence[Result], asked: int) -> None:
        self.results += results

    def rows(self) -> tuple[tuple[Result, int], ...]:
        return ()


def table_of(table: str, task: str, path: str) -> CurveTable:
    return lcbench.load(path, task) if table == "lcbench" else taskset.load(path, task, diverged_above=100)


def options_of(method: str, trials: int, resource: int) -> Asha | Hyperband:
    """ASHA starts 19 rows of 20 at one unit; Hyperband repeats its brackets until the budget is spent."""
    if method == "asha":
        return Asha(min_resource=1, max_resource=resource, eta=3, trials=trials * 19 // 20)
    return Hyperband(max_resource=resource, eta=3, iterations=None)


def search(method: str, table: str, task: str, path: str, budget: int) -> tuple[CurveTable, list[Result]]:
    curves = table_of(table, task, path)
    space, resource = TableRows(curves.rows).build(), curves.resources()[-1]
    evaluator = Tabular(table, path, task).build(space, None, resource)  # type: ignore[arg-type]
    sampler = RandomSearch().build(space, RecipeSpace({}), 1)
    scheduler: Scheduler = options_of(method, curves.rows, resource).build(sampler, 1)
    log = Log()
    run(scheduler, Simulated(workers=WORKERS).build(evaluator), log, budget=Budget(resource=budget))
    return curves, log.results


def epochs(results: Sequence[Result]) -> int:
    """Units of resource trained, failures up to their job's end."""
    reached = {result.job.key: result.job.resource for result in results}
    return sum(r.job.resource - (reached[r.job.start_from] if r.job.start_from else 0) for r in results)


@pytest.mark.parametrize("method", ["asha", "hyperband"])
@pytest.mark.parametrize(("table", "task"), TASKS)
@pytest.mark.slow
def test_the_top_percent_is_found_for_a_tenth_of_the_epochs(
    method: str, table: str, task: str, shared_data: Callable[[str], Path]
):
    path = str(shared_data(FILES[table]))
    whole = table_of(table, task, path).losses.size
    # What is in flight when the budget is spent still ends: leave room for it.
    in_flight = WORKERS * table_of(table, task, path).resources()[-1]
    curves, results = search(method, table, task, path, whole // 10 - in_flight)
    assert epochs(results) <= whole / 10
    full = [r for r in results if r.usable and r.job.resource == curves.resources()[-1]]
    winner = min(full, key=lambda r: r.loss)
    final = np.nan_to_num(curves.losses[:, -1], nan=np.inf, posinf=np.inf)
    rank = int((final < winner.loss).sum())
    assert rank < curves.rows // 100
