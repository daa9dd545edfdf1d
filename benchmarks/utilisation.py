"""How busy a search keeps its workers, from 25 to 5,000 of them, and how many one driver can feed.

Two tables. The first is a **simulation**: the shipped schedulers on the shipped simulated engine, losses by formula
with perfect ranking, no network is trained. The setting is that of Li et al. (MLSys 2020), section 4.3: eta = 4, r = 1,
R = 64, for 6 times the time of one full training, with stragglers (a job takes 1 + |N(0, 0.24)| times as long) and lost
workers (p = 0.001 in each unit of time; the job is handed out again). A worker is idle when it has no job; the time of
lost attempts is counted as lost, not as idle. What runs beyond the horizon counts up to it; the one method that ends
by itself is watched to its end, its tail included, whose last trainings keep few workers busy.

The second is **real Spark**: jobs that do nothing, through `spark_async` on two cores, so that all that is left is what
a job costs the driver and the engine: deciding, handing out, taking back, writing rows, and with a store committing.

    python -m benchmarks.utilisation [--workers 25 100 500 1000 5000] [--jobs 20000] [--parts simulated spark]

About 15 minutes on 2 cores, most of it for 5,000 workers.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.measure import Numbers, alone, machine, print_table
from benchmarks.stragglers import Endless, Tally
from spark_nas.config import Budget
from spark_nas.driver import run
from spark_nas.engines.simulated import Simulated
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.search.protocols import Engine, Scheduler
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.table import TableRows

WORKERS = (25, 100, 500, 1000, 5000)
R, ETA, STD, DROP = 64, 4, 0.24, 0.001
HORIZON = 6.0 * R

METHODS: Mapping[str, Callable[[int], Any]] = {  # Any: each its own options dataclass
    "ASHA": lambda _: Asha(max_resource=R, eta=ETA),
    "ASHA to its end, 100 trials a worker": lambda workers: Asha(max_resource=R, eta=ETA, trials=100 * workers),
    "asynchronous Hyperband": lambda _: AsynchronousHyperband(max_resource=R, eta=ETA),
    "SHA, n = 256, idle workers open brackets": lambda _: _halving(256, overlap=True),
    "SHA, n = 4 a worker, one bracket at a time": lambda workers: _halving(max(256, 4 * workers), overlap=False),
    "Hyperband, idle workers open brackets": lambda _: _hyperband(overlap=True),
    "Hyperband, one bracket at a time": lambda _: _hyperband(overlap=False),
}
"""Options for so many workers; endless but for one."""
JOB_SECONDS = (1, 10, 60, 600)
Durability = Literal["nothing", "rows", "rows and checkpoints"]


def _halving(trials: int, *, overlap: bool) -> SuccessiveHalving:
    return SuccessiveHalving(trials=trials, max_resource=R, eta=ETA, brackets=None, overlap=overlap)


def _hyperband(*, overlap: bool) -> Hyperband:
    return Hyperband(max_resource=R, eta=ETA, iterations=None, overlap=overlap)


class Watched:
    """An engine that also sums up what its workers did within the horizon."""

    def __init__(self, engine: Engine, horizon: float) -> None:
        self._engine, self._horizon = engine, horizon
        self.busy = self.lost = 0.0
        """Seconds of attempts that ended in a result, and of those that were lost."""

    @property
    def slots(self) -> int:
        """Of the engine."""
        return self._engine.slots

    def submit(self, jobs: Sequence[Job]) -> None:
        """Pass on."""
        self._engine.submit(jobs)

    def wait(self, timeout: float | None = None) -> list[Result]:
        """Pass on, and look at the times."""
        results = self._engine.wait(timeout)
        for result in results:
            begin = result.started_at.timestamp()
            spent = max(0.0, min(begin + result.seconds, self._horizon) - begin)
            if result.status == "lost":
                self.lost += spent
            else:
                self.busy += spent
        return results

    def close(self) -> None:
        """Pass on."""
        self._engine.close()


class Clocked:
    """A scheduler whose own processor time is taken."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.seconds = 0.0

    @property
    def max_resource(self) -> int:
        """R."""
        return self._scheduler.max_resource

    def ask(self, limit: int) -> list[Job]:
        """Pass on."""
        began = time.thread_time()
        jobs = self._scheduler.ask(limit)
        self.seconds += time.thread_time() - began
        return jobs

    def tell(self, result: Result) -> None:
        """Pass on."""
        began = time.thread_time()
        self._scheduler.tell(result)
        self.seconds += time.thread_time() - began

    def needed(self) -> set[JobKey]:
        """Pass on."""
        return self._scheduler.needed()


def simulated(method: str, workers: int, seed: int = 1, std: float = STD, drop: float = DROP) -> Numbers:
    """One search on so many workers, up to the horizon."""
    options = METHODS[method](workers)
    horizon = HORIZON if options.endless else math.inf
    scheduler = Clocked(options.build(Endless(), seed))
    evaluator = Synthetic().build(TableRows(1).build(), None, R)
    cluster = Simulated(workers=workers, unit_seconds=1, straggler_std=std, drop_probability=drop, seed=seed)
    engine = cluster.build(evaluator)
    watched, log = Watched(engine, horizon), Tally(R, horizon)
    budget = Budget(seconds=HORIZON if options.endless else None, attempts=10**9)
    began = time.process_time()
    jobs = run(scheduler, watched, log, budget=budget, clock=engine.clock)
    took = time.process_time() - began
    whole = workers * min(horizon, engine.now)
    if watched.busy + watched.lost > whole * (1 + 1e-6):
        raise RuntimeError(f"{workers} workers cannot have worked {watched.busy + watched.lost} units in {whole}")
    return {
        "jobs": jobs,
        "full": len(log.full),
        "first": min(log.full, default=math.inf),
        "idle": abs(1 - (watched.busy + watched.lost) / whole),
        "lost": watched.lost / whole,
        "decisions": jobs / scheduler.seconds,
        "loop": jobs / took,
    }


def simulated_table(workers: Sequence[int]) -> None:
    """Every method at every number of workers."""
    print(f"### Simulated cluster: eta {ETA}, R {R}, {HORIZON:.0f} units of time, stragglers {STD}, drops {DROP}\n")
    headings = ("method", "workers", "idle", "lost", "trained to R", "a worker", "first at", "jobs")
    more = ("decisions a CPU s, scheduler", "jobs a CPU s, loop and simulator", "MB")
    print_table((*headings, *more), (_simulated_row(method, count) for method in METHODS for count in workers))
    n = alone(simulated, "ASHA", 500, 1, 0.0, 0.0).numbers
    words = f"{n['jobs']:,.0f} decisions, {n['full']:.0f} trained to R, {n['jobs'] / n['loop']:.1f} CPU s in all"
    print(f"ASHA on 500 workers without stragglers and drops: {words}.\n")


def _simulated_row(method: str, workers: int) -> list[object]:
    took = alone(simulated, method, workers)
    n = took.numbers
    cells = [f"{n['idle']:.2%}", f"{n['lost']:.2%}", n["full"], n["full"] / workers, n["first"], n["jobs"]]
    return [method, workers, *cells, n["decisions"], n["loop"], took.peak]


def no_ops(kind: Durability, jobs: int, folder: str) -> Numbers:
    """So many jobs that do nothing on real Spark: how long from the first to the last, and what the driver spent."""
    from spark_nas.assemble import assemble, parse_experiment
    from spark_nas.storage.files import LocalFiles
    from spark_nas.storage.jobs import CommittedJobs
    from spark_nas.storage.results import ParquetLog

    raw = {
        "name": "no-ops",
        "space": {"name": "table_rows", "rows": 10**6},
        "scheduler": {"name": "full_training", "trials": jobs, "max_resource": 1},
        "evaluator": {"name": "synthetic"},
        "engine": {"name": "spark_async", "spark": {"master": "local[2]"}},
    }
    parts, files = assemble(parse_experiment(raw, "no_ops.yaml")), LocalFiles(Path(folder))
    log = Tally(R, 0.0) if kind == "nothing" else ParquetLog(files, "no-ops")
    store = CommittedJobs(files) if kind == "rows and checkpoints" else None
    clock = _Rate(jobs)
    with contextlib.closing(parts.engine(store)) as engine, contextlib.redirect_stdout(io.StringIO()):
        cpu = time.process_time()
        run(parts.scheduler(), engine, log, observer=clock)
        cpu = time.process_time() - cpu
    files_there = sum(1 for file in Path(folder).rglob("*") if file.is_file())
    return {"jobs": clock.told, "rate": clock.rate, "driver": 1e6 * cpu / jobs, "files": files_there}


class _Rate:
    """An observer that knows when results came; the first tenth, with the start of Python workers, is left out."""

    def __init__(self, jobs: int) -> None:
        self._jobs, self.told = jobs, 0
        self._moments: dict[int, float] = {}

    def on_asked(self, jobs: Sequence[Job]) -> None:
        """Nothing to see."""

    def on_result(self, result: Result) -> None:
        """Note the moment."""
        self.told += 1
        if self.told in (self._jobs // 10, self._jobs):
            self._moments[self.told] = time.perf_counter()

    def on_done(self) -> None:
        """Nothing to see."""

    @property
    def rate(self) -> float:
        """Results a second, from the end of the first tenth to the last."""
        (early, began), (late, ended) = self._moments.items()
        return (late - early) / (ended - began)


def spark_table(jobs: int) -> None:
    """What one driver does a second, and what follows for a cluster."""
    print(f"### One driver: {jobs:,} jobs that do nothing, spark_async; driver, JVM and workers share two cores\n")
    kinds: tuple[Durability, ...] = ("nothing", "rows", "rows and checkpoints")
    rows, rates = [], {}
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="spark_nas_no_ops_") as folder:
            took = alone(no_ops, kind, jobs, folder)
        n = took.numbers
        rates[kind] = n["rate"]
        rows.append([kind, n["jobs"], n["rate"], n["driver"], n["files"], took.peak])
    print_table(("what is kept", "jobs", "jobs/s", "driver's Python, CPU µs a job", "files", "driver, MB"), rows)
    for kind in kinds[1:]:
        rate = float(f"{rates[kind]:.2g}")
        words = ", ".join(f"{rate * seconds:,.0f} with jobs of {seconds} s" for seconds in JOB_SECONDS)
        print(f"- Keeping {kind}, one driver handles {rate:,.0f} jobs a second. GPUs it can feed: {words}.")
    print("\nBy that rate alone: two sessions ran here; what thousands of sessions ask of Spark itself is not in it.\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description="Workers kept busy, simulated, and the driver's capacity, on Spark.")
    parser.add_argument("--workers", type=int, nargs="+", default=WORKERS)
    parser.add_argument("--jobs", type=int, default=20_000, help="jobs that do nothing, for the driver's capacity")
    parser.add_argument("--parts", choices=("simulated", "spark"), nargs="+", default=("simulated", "spark"))
    chosen = parser.parse_args(arguments)
    print(machine() + "\n", flush=True)
    if "simulated" in chosen.parts:
        simulated_table(chosen.workers)
    if "spark" in chosen.parts:
        spark_table(chosen.jobs)
    print(machine())


if __name__ == "__main__":
    main()
