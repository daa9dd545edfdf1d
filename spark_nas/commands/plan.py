"""`spark-nas plan`: what an experiment will cost, before a cluster does: its rungs, and its wall time by simulation."""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from rich.console import Console
from rich.table import Table

from spark_nas import driver
from spark_nas.assemble import build_recipes, build_scheduler, load_experiment
from spark_nas.config import Experiment
from spark_nas.engines.simulated import Simulated
from spark_nas.errors import OptionError
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.report.view import duration
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome, Result
from spark_nas.search.schedulers.brackets import Bracket
from spark_nas.spaces.core import SearchSpace

HELP = "print the rungs of an experiment and how long it will take"


@dataclass(frozen=True)
class Estimate:
    """What a simulated run of the experiment came to."""

    jobs: int
    trials: int
    epochs: int
    full: int
    """Trials trained to the scheduler's highest resource."""
    seconds: float
    utilisation: float
    """Share of the workers' time spent on jobs."""
    rungs: tuple[tuple[int, int, int], ...]
    """(bracket, resource, jobs), ascending."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """EXPERIMENT, --workers, --epoch-seconds, --stragglers, --set."""
    parser.add_argument("experiment", help="experiment file (YAML)")
    parser.add_argument("--workers", type=int, default=8, help="jobs at the same time (default: 8)")
    parser.add_argument("--epoch-seconds", type=float, default=60.0, help="time of one epoch (default: 60)")
    parser.add_argument(
        "--stragglers", type=float, default=0.0, help="a job takes 1 + |N(0, this)| times as long (default: 0)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a value")


def execute(arguments: argparse.Namespace) -> int:
    """Print the plan."""
    experiment = load_experiment(arguments.experiment, arguments.set)
    simulated = Simulated(
        workers=arguments.workers, unit_seconds=arguments.epoch_seconds, straggler_std=arguments.stragglers
    )
    estimate = simulate(experiment, simulated)
    console = Console()
    console.print(_bracket_table(experiment.scheduler.plan()))
    console.print(_estimate_table(estimate))
    print(
        f"{estimate.trials:,} trials, {estimate.jobs:,} jobs, {estimate.epochs:,} epochs, "
        f"{estimate.full:,} trained in full."
    )
    print(
        f"With {arguments.workers} workers and {duration(arguments.epoch_seconds)} an epoch: "
        f"{duration(estimate.seconds)}, workers busy {100 * estimate.utilisation:.0f} % of the time "
        "(simulated; without the time that Spark takes to start)."
    )
    if hasattr(experiment.evaluator, "build_retraining"):
        epochs = experiment.retrain.epochs or experiment.scheduler.max_resource
        print(f"Retraining its winner takes {experiment.retrain.seeds} x {epochs:,} epochs more.")
    return 0


def simulate(experiment: Experiment, options: Simulated) -> Estimate:
    """Run the experiment's own scheduler and sampler in virtual time, on made-up losses."""
    space = experiment.space.build()
    scheduler = build_scheduler(experiment, space, build_recipes(experiment))
    if scheduler.max_resource < 1:
        raise OptionError("max_resource", scheduler.max_resource, "a plan needs at least 1")
    engine = options.build(_Deriving(space, scheduler.max_resource))
    log = _Rows()
    driver.run(scheduler, engine, log, budget=experiment.budget, clock=engine.clock)
    return _estimate(log.results, scheduler.max_resource, options.workers, engine.clock())


class _Deriving:
    """Made-up losses, in which a supernet derives some architecture, and scores at resource 0 cost nothing."""

    def __init__(self, space: SearchSpace, max_resource: int) -> None:
        self._space, self._curves = space, Synthetic().build(space, None, max_resource)

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """The loss of the job's curve."""
        if job.resource == 0:
            return Outcome(job.trial.seed / 2**31)
        outcome = self._curves.evaluate(job, workspace)
        undecided = any(choice.name not in job.trial.architecture for choice in self._space.choices)
        return replace(outcome, derived=(self._space.sample(Random(job.trial.seed)),) if undecided else ())


class _Rows:
    """A results table that nobody will read again."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def append(self, results: Sequence[Result], asked: int) -> None:
        self.results.extend(results)

    def rows(self) -> Iterable[tuple[Result, int]]:
        return ()


def _estimate(results: Sequence[Result], full: int, workers: int, seconds: float) -> Estimate:
    reached = {result.job.key: result.job.resource for result in results}
    jobs: dict[tuple[int, int], int] = defaultdict(int)
    epochs = 0
    for result in results:
        job = result.job
        jobs[job.trial.bracket, job.resource] += 1
        # A score at resource 0 starts from a trained supernet, and trains nothing.
        epochs += max(0, job.resource - (reached[job.start_from] if job.start_from else 0))
    busy = sum(result.seconds for result in results)
    return Estimate(
        jobs=len(results),
        trials=len({result.job.trial.trial_id for result in results}),
        epochs=epochs,
        full=sum(resource == full for resource in reached.values()),
        seconds=seconds,
        utilisation=busy / (workers * seconds) if seconds else 0.0,
        rungs=tuple((bracket, resource, n) for (bracket, resource), n in sorted(jobs.items())),
    )


def _bracket_table(brackets: Sequence[Bracket]) -> Table:
    table = Table(
        "s", "rungs: trials (epochs in all)", "jobs", "epochs", title="Brackets of one iteration", title_justify="left"
    )
    for column in (2, 3):
        table.columns[column].justify = "right"
    for bracket in brackets:
        rungs = "  ".join(f"{n:,} ({r:,})" for n, r in zip(bracket.sizes, bracket.resources, strict=True))
        table.add_row(str(bracket.s), rungs, f"{bracket.jobs:,}", f"{bracket.resource_resumed:,}")
    return table


def _estimate_table(estimate: Estimate) -> Table:
    table = Table("epochs in all", "jobs", title="Simulated run", title_justify="left")
    table.columns[1].justify = "right"
    per_resource: dict[int, int] = defaultdict(int)
    for _, resource, jobs in estimate.rungs:
        per_resource[resource] += jobs
    for resource, jobs in sorted(per_resource.items()):
        table.add_row(f"{resource:,}", f"{jobs:,}")
    return table
