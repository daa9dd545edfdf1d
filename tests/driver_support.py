"""A search on the simulated cluster, its table in memory: what the tests of the loop share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from hypothesis import strategies as st

from spark_nas import driver
from spark_nas.config import Budget
from spark_nas.engines.simulated import MemoryStore, Simulated, SimulatedEngine
from spark_nas.evaluation.curves import CurveEvaluator
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.search.protocols import Scheduler
from spark_nas.search.records import Job, JobKey, Result
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from tests.strategies import PlainRecipes, plain_space

Options = FullTraining | SuccessiveHalving | Hyperband | Asha | AsynchronousHyperband
SPACE = plain_space(4, 4, 4)
SYNCHRONOUS: dict[str, Options] = {
    "full training": FullTraining(12, 9),
    "successive halving": SuccessiveHalving(18, 1, 9, 3),
    "hyperband": Hyperband(9, 3),
    "hyperband, twice": Hyperband(9, 3, rounding="jmlr_table", iterations=2),
}
ASHA = Asha(max_resource=9, eta=3, trials=30)
ASYNCHRONOUS: dict[str, Options] = {
    "asha": ASHA,
    "asha, pushed": Asha(max_resource=9, eta=3, trials=30, decision="push"),
    "asynchronous hyperband": AsynchronousHyperband(max_resource=9, eta=3, trials=40),
}


@dataclass
class MemoryLog:
    """A results table in memory, beside the checkpoints of its run."""

    table: list[tuple[Result, int]] = field(default_factory=list)
    store: MemoryStore = field(default_factory=MemoryStore)

    def append(self, results: Sequence[Result], asked: int) -> None:
        self.table += [(result, asked) for result in results]

    def rows(self) -> Iterable[tuple[Result, int]]:
        return list(self.table)

    @property
    def results(self) -> list[Result]:
        return [result for result, _ in self.table]

    def cut(self, rows: int, *, ahead: bool = False) -> MemoryLog:
        """What a driver lost after so many rows leaves; with `ahead` all commits are there, else the rows' only."""
        kept = self.table[:rows]
        return MemoryLog(list(kept), self.store if ahead else commits(self, kept))


def commits(log: MemoryLog, rows: Sequence[tuple[Result, int]]) -> MemoryStore:
    """The commits of these rows alone."""
    store = MemoryStore()
    for result, _ in rows:
        if result.status == "completed":
            store.commit(result, log.store.checkpoint(result.job.key))
    return store


class Recorder:
    """An observer that keeps what it sees."""

    def __init__(self) -> None:
        self.asked: list[JobKey] = []
        self.told: list[JobKey] = []
        self.done = self.waited = 0

    def on_asked(self, jobs: Sequence[Job]) -> None:
        self.asked += [job.key for job in jobs]

    def on_result(self, result: Result) -> None:
        assert result.job.key in self.asked
        self.told.append(result.job.key)

    def on_wait(self) -> None:
        self.waited += 1

    def on_done(self) -> None:
        self.done += 1


class Crowded(SimulatedEngine):
    """The simulated engine, counting how many jobs were in flight at most, and how often each was submitted."""

    flying = most = 0

    def submit(self, jobs: Sequence[Job]) -> None:
        self.submitted = [*getattr(self, "submitted", ()), *jobs]
        self.flying += len(jobs)
        self.most = max(self.most, self.flying)
        super().submit(jobs)

    def wait(self, timeout: float | None = None) -> list[Result]:
        results = super().wait()
        self.flying -= len(results)
        return results


def fresh(options: Options, seed: int = 7) -> Scheduler:
    sampler = RandomSearch().build(SPACE, PlainRecipes(()), seed)
    return options.build(sampler, seed)


def curves(options: Options, **synthetic: float) -> CurveEvaluator:
    return Synthetic(**{"noise": 0.3, "divergence": 0.15, **synthetic}).build(SPACE, None, options.max_resource)


def cluster(options: Options, store: MemoryStore | None = None, **simulated: float) -> SimulatedEngine:
    return Simulated(**{"workers": 4, "straggler_std": 0.8, **simulated}).build(curves(options), store)


def search(options: Options, log: MemoryLog | None = None, budget: Budget | None = None, **simulated: float):
    log = MemoryLog() if log is None else log
    engine = cluster(options, log.store, **simulated)
    asked = driver.run(fresh(options), engine, log, budget=budget, clock=engine.clock)
    return log, asked


def table(rows: Iterable[tuple[Result, int]]) -> dict[JobKey, str]:
    """The results table without what depends on where, when and in which order jobs ran."""
    return {r.job.key: repr((r.job, r.status, r.loss, r.metrics, r.curve, r.derived)) for r, _ in rows}


WHOLE = {name: table(search(options)[0].rows()) for name, options in SYNCHRONOUS.items()}
clusters = st.fixed_dictionaries({"workers": st.integers(1, 9), "seed": st.integers(0, 10**6)})
