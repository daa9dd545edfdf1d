"""ASHA against synchronous successive halving on a simulated cluster with stragglers and lost workers. A simulation.

After Li et al. (MLSys 2020), appendix A.1: 25 workers, eta = 4, r = 1, R = 256, successive halving with n = 256 and
further brackets for idle workers, 2,000 time units. Where the description leaves something open, the reading is:

- a job takes its increment of resource times 1 + |N(0, std)|, drawn anew for every attempt;
- a running job is lost with probability p in each time unit, at any moment (exponential); it is handed out again at
  once, before any other job, starts again from its rung's beginning, and is never given up;
- equal times are handled one event after another: a freed worker asks before the next result is told;
- rankings are perfect (the synthetic evaluator without noise), qualities are uniform;
- a fully trained configuration counts when it ends within the horizon; a run without any has its first at the horizon.

    python benchmarks/stragglers.py [--seeds 25] [--processes 2]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import Literal, NamedTuple

from spark_nas.config import Budget
from spark_nas.driver import run
from spark_nas.engines.simulated import Simulated
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import SUPERNET, Proposal, Result
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.table import TableRows

STDS = (0.0, 0.10, 0.24, 0.56, 1.33)
DROPS = (0.0, 0.001, 0.002, 0.005, 0.01)
HORIZON = 2000.0
Method = Literal["sha", "asha"]


class Endless:
    """A sampler of trials that differ in their seeds alone: here the seed decides a trial's quality."""

    def suggest(self) -> Proposal:
        """One more."""
        return Proposal(SUPERNET)

    def observe(self, result: Result) -> None:
        """Nothing to learn."""


class Tally:
    """A log that only counts: fully trained trials by the time they ended, and jobs by rung."""

    def __init__(self, max_resource: int, horizon: float) -> None:
        self._max_resource, self._horizon = max_resource, horizon
        self.full: list[float] = []
        """When each fully trained trial ended, within the horizon."""
        self.rungs: list[int] = []
        """Results at each rung within the horizon."""

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Count results."""
        for result in results:
            end = result.started_at.timestamp() + result.seconds
            if end > self._horizon:
                continue
            rung = result.job.rung
            self.rungs += [0] * (rung + 1 - len(self.rungs))
            self.rungs[rung] += 1
            if result.job.resource == self._max_resource:
                self.full.append(end)

    def rows(self) -> Iterable[tuple[Result, int]]:
        """None: these searches start afresh."""
        return ()


@dataclass(frozen=True)
class Outcome:
    """What one simulated search came to."""

    full: int
    """Trials trained to R within the horizon."""
    first: float
    """When the first of them ended; the horizon if there was none."""
    rungs: tuple[int, ...]
    """Results at each rung."""
    asked: int
    """Jobs handed out."""
    lost: int
    """Attempts lost."""


def simulate(scheduler: Scheduler, cluster: Simulated, horizon: float) -> Outcome:
    """One search with perfect ranking, up to the horizon (virtual seconds; one a unit of resource)."""
    evaluator = Synthetic().build(TableRows(1).build(), None, scheduler.max_resource)
    engine = cluster.build(evaluator)
    log = Tally(scheduler.max_resource, horizon)
    budget = Budget(seconds=horizon, attempts=10**9)
    asked = run(scheduler, engine, log, budget=budget, clock=engine.clock)
    return Outcome(len(log.full), min(log.full, default=horizon), tuple(log.rungs), asked, engine.lost)


class Cell(NamedTuple):
    """One simulated search of the straggler study."""

    method: Method
    std: float
    drop: float
    seed: int


def straggler_run(cell: Cell) -> Outcome:
    """One search of the study."""
    options = (
        Asha(min_resource=1, max_resource=256, eta=4)
        if cell.method == "asha"
        else SuccessiveHalving(trials=256, max_resource=256, eta=4, brackets=None, overlap=True)
    )
    cluster = Simulated(workers=25, unit_seconds=1, straggler_std=cell.std, drop_probability=cell.drop, seed=cell.seed)
    return simulate(options.build(Endless(), cell.seed), cluster, HORIZON)


def many_workers_run(workers: int, std: float, drop: float, seed: int) -> Outcome:
    """ASHA with eta = 4, r = 1, R = 64 for 6 time(R): the setting of the paper's 500 workers."""
    cluster = Simulated(workers=workers, unit_seconds=1, straggler_std=std, drop_probability=drop, seed=seed)
    return simulate(Asha(min_resource=1, max_resource=64, eta=4).build(Endless(), seed), cluster, 6 * 64)


@dataclass(frozen=True)
class Summary:
    """Several seeds of one cell."""

    full: float
    """Mean number of fully trained trials."""
    full_error: float
    """Its standard error."""
    first: float
    """Mean time of the first."""
    first_error: float
    """Its standard error."""


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Means and standard errors over seeds."""
    counts, firsts = [outcome.full for outcome in outcomes], [outcome.first for outcome in outcomes]
    root = len(outcomes) ** 0.5
    return Summary(
        statistics.fmean(counts),
        statistics.stdev(counts) / root,
        statistics.fmean(firsts),
        statistics.stdev(firsts) / root,
    )


def study(
    stds: Sequence[float], drops: Sequence[float], seeds: int, processes: int = 1
) -> dict[tuple[Method, float, float], Summary]:
    """Every method in every cell, over seeds 1..`seeds`."""
    methods: tuple[Method, ...] = ("sha", "asha")
    keys = list(product(methods, stds, drops))
    cells = [Cell(*key, seed) for key in keys for seed in range(1, seeds + 1)]
    if processes == 1:
        outcomes = [straggler_run(cell) for cell in cells]
    else:
        with get_context("spawn").Pool(processes) as pool:
            outcomes = pool.map(straggler_run, cells, chunksize=5)
    return {key: summarise(outcomes[i * seeds : (i + 1) * seeds]) for i, key in enumerate(keys)}


def main() -> None:
    """Print the table: the whole one, or its rows and columns that are asked for."""
    parser = argparse.ArgumentParser(description="Stragglers and drops, simulated: SHA | ASHA.")
    parser.add_argument("--seeds", type=int, default=25)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--stds", type=float, nargs="+", default=STDS)
    parser.add_argument("--drops", type=float, nargs="+", default=DROPS)
    arguments = parser.parse_args()
    stds, drops = arguments.stds, arguments.drops
    table = study(stds, drops, arguments.seeds, arguments.processes)
    print("configurations trained to R, SHA / ASHA; mean time of the first one, SHA / ASHA (± standard error)\n")
    print("| std \\ p | " + " | ".join(f"{drop:g}" for drop in drops) + " |")
    print("|---" * (len(drops) + 1) + "|")
    for std in stds:
        pairs = [(table["sha", std, drop], table["asha", std, drop]) for drop in drops]
        texts = [
            f"{s.full:.1f}±{s.full_error:.1f} / {a.full:.1f}±{a.full_error:.1f}; "
            f"{s.first:.0f}±{s.first_error:.0f} / {a.first:.0f}±{a.first_error:.0f}"
            for s, a in pairs
        ]
        print(f"| {std:g} | " + " | ".join(texts) + " |")


if __name__ == "__main__":
    main()
