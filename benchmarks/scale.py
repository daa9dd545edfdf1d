"""How decisions, the driver's loop, a restart and the report grow with the number of trials: up to a million.

No network is trained; every decision, every row and every page is the shipped code's. Each case runs in a process of
its own, so its memory is its own. CPU seconds, because other work on the machine then matters least; contention is
measured beside.

    python -m benchmarks.scale                             # everything; about 15 minutes on 2 cores
    python -m benchmarks.scale --sizes 1000 10000          # smaller
    python -m benchmarks.scale --cases decisions replay    # some of the tables

- `decisions`: a scheduler alone: ask for one job, tell the oldest in flight, with 100 in flight.
- `driver`: the same scheduler in `driver.run` with 256 slots, an engine and a log in memory.
- `replay`: a stored ASHA run (real Parquet parts, curves, eight hyperparameters, six choices) through
  `driver.replay` into a fresh scheduler; reading and rebuilding the results is included.
- `spark`: a search of 10,000 trials over the table of NAS-Bench-201, on real Spark with two cores.
- `report`: `spark-nas report` on the stored run, and the leaderboard by itself.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from time import process_time

from benchmarks.measure import Measured, Numbers, alone, machine, print_table
from benchmarks.workload import (
    SCHEDULERS,
    Counting,
    InMemory,
    Same,
    asha_experiment,
    random_sampler,
    scheduler,
    store_run,
)
from spark_nas.driver import replay, run
from spark_nas.search.records import Job, Result

SIZES = (1_000, 10_000, 100_000, 1_000_000)
IN_FLIGHT, SLOTS = 100, 256
TABLE_TRIALS = 10_000
_ENOUGH = 20_000
"""Trials of a measurement that means something."""
_MOST_STORED = 100_000
"""Trials of the largest stored run: beyond, the rows alone take gigabytes."""


def decisions(name: str, trials: int, *, drawn: bool = False) -> Numbers:
    """Carry a whole search out on the scheduler alone; `drawn`: trials come from the random sampler."""
    search = scheduler(name, trials, random_sampler() if drawn else Same())
    flying: deque[Job] = deque()
    jobs = 0
    while True:
        asked = search.ask(1)
        flying.extend(asked)
        jobs += len(asked)
        if len(flying) < IN_FLIGHT and asked:
            continue
        if not flying:
            return {"jobs": jobs}
        job = flying.popleft()
        search.tell(Result(job, "completed", job.trial.seed / 2**31 + 1 / job.resource))


def driver_loop(name: str, trials: int, drawn: bool = True) -> Numbers:
    """The same through `driver.run`."""
    log = Counting()
    jobs = run(scheduler(name, trials, random_sampler() if drawn else Same()), InMemory(SLOTS), log)
    if log.told != jobs:
        raise RuntimeError(f"{jobs} jobs were handed out and {log.told} came back")
    return {"jobs": jobs}


def replay_rows(folder: Path, trials: int) -> Numbers:
    """Bring a fresh scheduler to the end of the stored run."""
    from spark_nas.commands.runs import Run

    fresh = asha_experiment(trials).scheduler()
    began = process_time()
    flying, jobs = replay(fresh, Run(str(folder)).log.rows())
    if flying:
        raise RuntimeError(f"the run is finished, but {len(flying)} jobs seem to be in flight")
    return {"jobs": jobs, "seconds": process_time() - began}


def report(folder: Path) -> Numbers:
    """`spark-nas report`, its leaderboard sent nowhere."""
    from spark_nas.cli import main as spark_nas

    with contextlib.redirect_stdout(io.StringIO()):
        if spark_nas(["report", str(folder)]) != 0:
            raise RuntimeError("spark-nas report failed")
    return {"megabytes": (folder / "report" / "report.html").stat().st_size / 1e6}


def results_and_leaderboard(folder: Path) -> Numbers:
    """What a notebook does: all results, then the best ten."""
    from spark_nas.commands.runs import Run
    from spark_nas.report.leaderboard import leaderboard

    began = process_time()
    results = Run(str(folder)).results()
    read = process_time()
    rows = leaderboard(results, 10)
    return {"jobs": len(results), "rows": len(rows), "read": read - began, "ranked": process_time() - read}


def table_search(folder: str, trials: int) -> Numbers:
    """Random search over the table of NAS-Bench-201 on Spark, with the durable log and committed checkpoints."""
    from spark_nas.assemble import assemble, parse_experiment
    from spark_nas.commands.runs import run_files
    from spark_nas.commands.search import search

    raw = {
        "name": "table",
        "space": {"name": "nas_bench_201"},
        # The table has 5,485 different networks, so without replacement the search would end there.
        "sampler": {"name": "random", "replacement": True},
        "scheduler": {"name": "full_training", "trials": trials, "max_resource": 200},
        "evaluator": {"name": "tabular", "table": "nas_bench_201", "task": "cifar10-valid"},
        "engine": {"name": "spark_async", "spark": {"master": "local[2]"}},
    }
    parts = assemble(parse_experiment(raw, "table.yaml"))
    with contextlib.redirect_stdout(io.StringIO()):
        results = search(parts, run_files(folder, "table"), "table")
    done = [result.started_at.timestamp() + result.seconds for result in results]
    busy = max(done) - min(result.started_at.timestamp() for result in results)
    files = sum(1 for file in Path(folder).rglob("*") if file.is_file())
    return {"jobs": len(results), "failed": sum(not r.usable for r in results), "busy": busy, "files": files}


def repeated(case: Callable[[str, int], Numbers], name: str, trials: int) -> Numbers:
    """Small cases again and again, until there is something to measure."""
    repeats = max(1, _ENOUGH // trials)
    return {"repeats": repeats, "jobs": sum(case(name, trials)["jobs"] for _ in range(repeats))}


def _row(label: str, trials: int, took: Measured) -> list[object]:
    jobs, repeats = took.numbers["jobs"], took.numbers["repeats"]
    return [label, trials, jobs / repeats, took.cpu / repeats, 1e6 * took.cpu / jobs, took.grown, took.peak]


HEADINGS = ("what", "trials", "jobs", "CPU s", "µs a job", "MB added", "MB in all")


def decisions_table(sizes: Sequence[int]) -> None:
    """Every scheduler by itself at every size, then ASHA with the random sampler."""
    print("### Decisions: the scheduler alone\n")
    free = (_row(name, n, alone(repeated, decisions, name, n)) for name in SCHEDULERS for n in sizes)
    drawn = (_row("ASHA and random sampler", n, alone(repeated, _drawn_decisions, "ASHA", n)) for n in sizes)
    print_table(HEADINGS, chain(free, drawn))


def _drawn_decisions(name: str, trials: int) -> Numbers:
    return decisions(name, trials, drawn=True)


def driver_table(sizes: Sequence[int]) -> None:
    """The loop around ASHA and around Hyperband, with the random sampler."""
    print("### The driver's loop: random sampler, scheduler, engine and log in memory\n")
    names = ("ASHA", "Hyperband")
    print_table(HEADINGS, (_row(name, n, alone(repeated, driver_loop, name, n)) for name in names for n in sizes))


def stored_tables(sizes: Sequence[int], cases: Sequence[str]) -> None:
    """Replay and report, of runs that are written once for both."""
    replays, reports = [], []
    with tempfile.TemporaryDirectory(prefix="spark_nas_scale_") as place:
        for n in sorted({min(n, _MOST_STORED) for n in sizes}):
            folder = Path(place, f"asha-{n}")
            written = alone(_store, folder, n)
            if "replay" in cases:
                took = alone(replay_rows, folder, n)
                replays += [[n, took.numbers["jobs"], written.cpu, took.numbers["seconds"], took.grown, took.peak]]
            if "report" in cases:
                page, read = alone(report, folder), alone(results_and_leaderboard, folder)
                times = [read.numbers["read"], read.numbers["ranked"]]
                reports += [[n, read.numbers["jobs"], page.cpu, page.peak, page.numbers["megabytes"], *times]]
    if replays:
        print("### Replay: a stored ASHA run into a fresh scheduler\n")
        print_table(("trials", "rows", "writing, CPU s", "replay, CPU s", "MB added", "MB in all"), replays)
    if reports:
        print("### Report of the same runs\n")
        headings = ("trials", "rows", "spark-nas report, CPU s", "MB in all", "page, MB")
        print_table((*headings, "reading all results, CPU s", "leaderboard, CPU s"), reports)


def _store(folder: Path, trials: int) -> Numbers:
    return {"jobs": store_run(folder, trials)}


def spark_table(trials: int) -> None:
    """One search over a published table on Spark."""
    print(f"### {trials:,} trials over the table of NAS-Bench-201, spark_async on local[2]\n")
    with tempfile.TemporaryDirectory(prefix="spark_nas_scale_") as place:
        took = alone(table_search, place, trials)
    found = took.numbers
    rate, whole = found["jobs"] / found["busy"], found["jobs"] / took.wall
    headings = ("jobs", "failed", "first to last job, s", "jobs/s", "wall s in all", "jobs/s in all", "files")
    cells = [found["jobs"], found["failed"], found["busy"], rate, took.wall, whole, found["files"]]
    print_table((*headings, "driver, MB"), [[*cells, took.peak]])


CASES = ("decisions", "driver", "replay", "spark", "report")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="Schedulers, driver, replay and report at up to a million trials.")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of trials")
    parser.add_argument("--cases", choices=CASES, nargs="+", default=CASES, help="which tables")
    chosen = parser.parse_args(arguments)
    print(machine() + "\n", flush=True)
    if "decisions" in chosen.cases:
        decisions_table(chosen.sizes)
    if "driver" in chosen.cases:
        driver_table(chosen.sizes)
    if {"replay", "report"} & set(chosen.cases):
        stored_tables(chosen.sizes, chosen.cases)
    if "spark" in chosen.cases:
        spark_table(min(TABLE_TRIALS, math.ceil(max(chosen.sizes))))
    print(machine())


if __name__ == "__main__":
    main()
