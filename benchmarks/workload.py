"""A search without training, for measuring everything else: an engine in memory, a log that counts, and a stored run.

The engine makes losses by a formula and its workers' clocks up; nothing sleeps, and every decision is the real one.
What only a stored run needs is imported there, so that the schedulers' memory can be told from plotly's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from heapq import heapreplace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_nas.driver import run
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.records import SUPERNET, CurvePoint, Job, Proposal, Result
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.stopping import StoppingAsha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.recipes import RecipeSpace

if TYPE_CHECKING:
    from spark_nas.assemble import Parts

RECIPE: Mapping[str, object] = {
    "activation": {"choice": ["relu", "tanh", "gelu"]},
    "batch_size": {"choice": [32, 64, 128]},
    "layers": {"int": [1, 4]},
    "learning_rate": {"float": [1e-4, 1e-1], "log": True},
    "momentum": {"float": [0.5, 0.99], "when": {"optimiser": ["sgd"]}},
    "optimiser": {"choice": ["sgd", "adamw"]},
    "units_1": {"int": [16, 512], "log": True},
    "weight_decay": {"float": [1e-6, 1e-2], "log": True},
}
R, ETA = 81, 3
"""Five rungs: 1, 3, 9, 27, 81."""
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
_ITERATION = sum(bracket.sizes[0] for bracket in Hyperband(max_resource=R, eta=ETA).plan())

SCHEDULERS: Mapping[str, Callable[[int], Any]] = {  # Any: each its own options dataclass
    "ASHA": lambda n: Asha(max_resource=R, eta=ETA, trials=n),
    "asynchronous Hyperband": lambda n: AsynchronousHyperband(max_resource=R, eta=ETA, trials=n),
    "stopping": lambda n: StoppingAsha(max_resource=R, eta=ETA, trials=n),
    "successive halving": lambda n: SuccessiveHalving(max_resource=R, eta=ETA, trials=n),
    "Hyperband": lambda n: Hyperband(max_resource=R, eta=ETA, iterations=-(-n // _ITERATION)),
}
"""Options for n trials (Hyperband: as many whole iterations as n trials need)."""


class Same:
    """A sampler that costs nothing: trials differ in their seeds alone, and those decide the losses."""

    def suggest(self) -> Proposal:
        """One more."""
        return Proposal(SUPERNET)

    def observe(self, result: Result) -> None:
        """Nothing to learn."""


def random_sampler() -> Sampler:
    """The shipped random search without repetition: six choices of NAS-Bench-201 and eight hyperparameters."""
    return RandomSearch().build(NasBench201().build(), RecipeSpace(RECIPE), 1)


def scheduler(name: str, trials: int, sampler: Sampler) -> Scheduler:
    """A fresh scheduler of `SCHEDULERS`."""
    built: Scheduler = SCHEDULERS[name](trials).build(sampler, 1)
    return built


class InMemory:
    """An engine with `slots` made-up workers. All that is in flight comes back at the next `wait`, by end time."""

    def __init__(self, slots: int, *, curves: bool = False, failing: float = 0.0) -> None:
        """`curves`: whether results carry a point for each unit; `failing`: the share of jobs that fail."""
        self.slots = slots
        self._curves, self._failing = curves, failing
        self._free = [(0.0, worker) for worker in range(slots)]
        self._flying: list[Job] = []

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs."""
        self._flying += jobs

    def wait(self, timeout: float | None = None) -> list[Result]:
        """Everything in flight."""
        jobs, self._flying = self._flying, []
        if not self._curves:
            return [Result(job, "completed", _loss(job.trial.seed, job.resource)) for job in jobs]
        results = [self._trained(job) for job in jobs]
        results.sort(key=lambda result: (result.started_at + timedelta(seconds=result.seconds), result.job.key))
        return results

    def close(self) -> None:
        """Forget what is in flight."""
        self._flying = []

    def _trained(self, job: Job) -> Result:
        """On the worker that is free first; an epoch takes 2 to 3 seconds."""
        below = job.resource // ETA if job.start_from else 0
        noise = _noise(job.trial.seed, -job.resource)
        seconds = (job.resource - below) * (2.0 + noise)
        began, worker = self._free[0]
        heapreplace(self._free, (began + seconds + 0.05, worker))
        stamp: dict[str, Any] = {
            "started_at": _BEGAN + timedelta(seconds=began),
            "seconds": seconds,
            "executor": f"10.0.{worker // 8}.7/{4000 + worker}",
        }
        if noise < self._failing:
            return Result(job, "failed", error="RuntimeError: CUDA out of memory\n  File ..., line 1", **stamp)
        curve = tuple(_point(job.trial.seed, unit) for unit in range(below + 1, job.resource + 1))
        return Result(job, "completed", curve[-1].loss, curve[-1].metrics, curve, **stamp)


def _noise(seed: int, unit: int) -> float:
    """In [0, 1): a multiplicative hash, as random as a benchmark needs and far cheaper than a generator."""
    return ((seed * 2654435761 + unit * 40503 * 65537) >> 7 & 0xFFFFFF) / 2**24


def _loss(seed: int, unit: int) -> float:
    """Falls with the training towards a quality that the seed decides; the noise shrinks as it does."""
    return seed / 2**31 + 1.5 / unit + 0.3 * _noise(seed, unit) / math.sqrt(unit)


def _point(seed: int, unit: int) -> CurvePoint:
    loss = _loss(seed, unit)
    return CurvePoint(unit, loss, {"accuracy": 1 / (1 + loss)})


class Counting:
    """A results table that keeps nothing but the number of its rows."""

    def __init__(self) -> None:
        self.told = 0

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Count them."""
        self.told += len(results)

    def rows(self) -> Iterable[tuple[Result, int]]:
        """None: these searches start afresh."""
        return ()


def asha_experiment(trials: int) -> Parts:
    """What `store_run` carries out, as an experiment file would say it."""
    from spark_nas.assemble import assemble, parse_experiment

    raw = {
        "name": "scale",
        "space": {"name": "nas_bench_201"},
        "recipe": dict(RECIPE),
        "scheduler": {"name": "asha", "max_resource": R, "eta": ETA, "trials": trials},
        "evaluator": {"name": "synthetic"},
        "engine": {"name": "simulated"},
    }
    return assemble(parse_experiment(raw, "scale.yaml"))


def store_run(folder: Path, trials: int, workers: int = 256) -> int:
    """A finished ASHA search with curves and failures in `folder`, written by the real log; returns its rows."""
    from spark_nas.commands.search import new_record
    from spark_nas.engines.environment import versions
    from spark_nas.storage.files import LocalFiles
    from spark_nas.storage.record import begin
    from spark_nas.storage.results import ParquetLog

    parts, files = asha_experiment(trials), LocalFiles(folder)
    environment = versions()
    begin(files, new_record(parts, folder.name, environment))
    engine = InMemory(workers, curves=True, failing=0.01)
    return run(parts.scheduler(), engine, ParquetLog(files, folder.name, environment))
