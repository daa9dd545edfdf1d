"""The only loop: ask the scheduler, submit to the engine, wait, append rows, tell the scheduler.

The results table is the state (docs/decisions/0006). `replay` feeds its rows to a fresh scheduler, which then
stands exactly where the lost one stood; what was in flight is submitted again.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from spark_nas.config import Budget
from spark_nas.errors import OutputError, SearchFailed, Unfinished
from spark_nas.search.protocols import Engine, ResultLog, Scheduler
from spark_nas.search.records import Job, JobKey, Result

_POLL_SECONDS = 0.5
"""How long the loop is deaf to a wish to stop while it waits for results."""
_FIRST_PAUSE, _LONGEST_PAUSE = 30.0, 600.0
"""Seconds before a lost job is submitted again whose worker lives: each pause is four times the one before."""
Stop = Callable[[], str | None]
"""Asked every turn: why the search should stop now, or None to go on."""


class Observer(Protocol):
    """Watches a search; shows progress. It never changes anything."""

    def on_asked(self, jobs: Sequence[Job]) -> None:
        """Jobs were handed out."""
        ...

    def on_result(self, result: Result) -> None:
        """A result's row is durable."""
        ...

    def on_wait(self) -> None:
        """Time has passed, half a second or so, whatever came back in it."""
        ...

    def on_done(self) -> None:
        """The search is over, or interrupted."""
        ...


class Housekeeper(Protocol):
    """Clears away what a search no longer needs."""

    def after(self, results: Sequence[Result]) -> None:
        """Results were told. Must not block the loop."""
        ...


def run(
    scheduler: Scheduler,
    engine: Engine,
    log: ResultLog,
    *,
    budget: Budget | None = None,
    observer: Observer | None = None,
    housekeeper: Housekeeper | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    stop: Stop = lambda: None,
    grace: float = 60.0,
) -> int:
    """Search until the scheduler is done or the budget is spent; returns the number of jobs handed out.

    A fresh `scheduler` is brought up to `log` first, so calling again with the same log continues the run.
    When `stop` gives a reason, no more jobs are handed out and those in flight have `grace` seconds to come back.
    Raises Unfinished after that, unless the search was at its end; SearchFailed when the first `budget.failures`
    results all failed, and OutputError when the log was not written by this scheduler. The engine is the caller's to
    close.

    A job that is lost `budget.attempts` times has failed. It is submitted again at once when its worker has vanished,
    for another will do; and after a pause (30 s, 2 min, 8 min, then 10 min) when its worker lives to say so, as what
    it could not reach, a store or a disk, is out of reach for the next one too.
    """
    loop = _Loop(scheduler, engine, log, budget or Budget(), observer, housekeeper, clock, sleep)
    try:
        loop.resume()
        while (reason := stop()) is None and loop.step():
            pass
        if reason is not None:
            loop.land(reason, grace)
    finally:
        if observer is not None:
            observer.on_done()
    return loop.asked


def replay(scheduler: Scheduler, rows: Iterable[tuple[Result, int]]) -> tuple[dict[JobKey, Job], int]:
    """Bring a fresh scheduler to where `rows` end.

    Returns the jobs that were handed out but have no row, in the order of asking, and the number of jobs handed out.
    Raises OutputError when the rows do not come from this scheduler.
    """
    flying: dict[JobKey, Job] = {}
    asked = 0
    for result, asked_then in rows:
        while asked < asked_then:
            jobs = scheduler.ask(asked_then - asked)
            if not jobs:
                raise OutputError(f"the results table does not fit this search: it has no job number {asked}")
            asked += len(jobs)
            flying.update((job.key, job) for job in jobs)
        job = flying.pop(result.job.key, None)
        if job != result.job:
            key = tuple(result.job.key)
            raise OutputError(f"the results table does not fit this search: row {key} is {result.job}, not {job}")
        scheduler.tell(result)
    return flying, asked


class _Loop:
    """One invocation of `run`: what flies, what it has cost, and when to stop."""

    def __init__(
        self,
        scheduler: Scheduler,
        engine: Engine,
        log: ResultLog,
        budget: Budget,
        observer: Observer | None,
        housekeeper: Housekeeper | None,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self.scheduler, self.engine, self.log = scheduler, engine, log
        self.budget, self.observer, self.housekeeper = budget, observer, housekeeper
        self.clock, self.sleep = clock, sleep
        self.flying: dict[JobKey, Job] = {}
        self.due: dict[JobKey, float] = {}
        """When the engine gets those of the jobs in flight that it does not have."""
        self.attempts: dict[JobKey, int] = {}
        self.reached = _Resources()
        self.asked = self.resource = self.told = 0
        self.any_completed = False
        self.started = clock()

    def resume(self) -> None:
        """Replay the log; hand out again what was in flight when it ended."""
        rows = list(self.log.rows())
        if self.observer is not None:
            for result, _ in rows:
                self.observer.on_asked([result.job])
                self.observer.on_result(result)
        flying, self.asked = replay(self.scheduler, rows)
        self.told = len(rows)
        self.any_completed = any(result.usable for result, _ in rows)
        for result, _ in rows:
            self._count(result.job)
        for job in flying.values():
            self._count(job)
        self._clear_away([result for result, _ in rows])  # not before the replay: until then nothing seems needed
        self._hand_out(list(flying.values()))

    def step(self) -> bool:
        """One turn of the loop; False when the search is over."""
        self._hand_out(self._ask())
        self._submit()
        if not self.flying:
            return False
        if len(self.due) < len(self.flying):
            self._take(self.engine.wait(_POLL_SECONDS))
        else:
            self.sleep(_POLL_SECONDS)
        if self.observer is not None:
            self.observer.on_wait()
        return True

    def land(self, reason: str, grace: float) -> None:
        """Take in what comes back within `grace` seconds. Raises Unfinished unless that was the end of the search."""
        until = self.clock() + grace
        while len(self.due) < len(self.flying) and (left := until - self.clock()) > 0:
            self._take(self.engine.wait(min(left, _POLL_SECONDS)))
        if self.flying or self._ask():
            cut = len(self.flying)
            raise Unfinished(f"stopped ({reason}) after {self.told} jobs, {cut} in flight; the same command continues")

    def _ask(self) -> list[Job]:
        """What the scheduler has to do now, for as many slots as are free; nothing once the budget is spent."""
        free = self.engine.slots - len(self.flying)
        if self.budget.jobs is not None:
            free = min(free, self.budget.jobs - self.asked)
        jobs: list[Job] = []
        while len(jobs) < free and not self._spent():
            # What a job costs is known when it is there; asking in portions is asking at once.
            portion = self.scheduler.ask(free if self.budget.resource is None else 1)
            jobs += portion
            self.asked += len(portion)
            for job in portion:
                self._count(job)
            if not portion or self.budget.resource is None:
                break
        return jobs

    def _hand_out(self, jobs: Sequence[Job]) -> None:
        """Let jobs be in flight; the engine gets them by `_submit`."""
        for job in jobs:
            self.flying[job.key], self.due[job.key] = job, self.clock()
        if jobs and self.observer is not None:
            self.observer.on_asked(jobs)

    def _submit(self) -> None:
        """Give the engine the jobs that are due."""
        due = [key for key, when in self.due.items() if when <= self.clock()]
        if due:
            self.engine.submit([self.flying[key] for key in due])
        for key in due:
            del self.due[key]

    def _take(self, results: Sequence[Result]) -> None:
        """Append and tell what came back; what was lost and deserves another attempt becomes due again."""
        told = []
        for result in results:
            attempt = self.attempts.pop(result.job.key, 1)
            if result.status == "lost" and attempt < self.budget.attempts:
                self.attempts[result.job.key] = attempt + 1
                self.due[result.job.key] = self.clock() + _pause(result, attempt)
                continue
            status = "failed" if result.status == "lost" else result.status
            told.append(replace(result, status=status, attempt=max(attempt, result.attempt)))
        if told:
            self.log.append(told, self.asked)
        for result in told:
            del self.flying[result.job.key]
            self.scheduler.tell(result)
            if self.observer is not None:
                self.observer.on_result(result)
        self.told += len(told)
        self._clear_away(told)
        self._give_up_if_hopeless(told)

    def _clear_away(self, results: Sequence[Result]) -> None:
        if self.housekeeper is not None and results:
            self.housekeeper.after(results)

    def _give_up_if_hopeless(self, told: Sequence[Result]) -> None:
        self.any_completed = self.any_completed or any(result.usable for result in told)
        if told and not self.any_completed and self.told >= self.budget.failures:
            reason = (told[-1].error or "its loss is not finite").splitlines()[0]
            raise SearchFailed(f"the first {self.told} jobs all failed, the last one with: {reason}")

    def _spent(self) -> bool:
        budget = self.budget
        return (
            (budget.seconds is not None and self.clock() - self.started >= budget.seconds)
            or (budget.jobs is not None and self.asked >= budget.jobs)
            or (budget.resource is not None and self.resource >= budget.resource)
        )

    def _count(self, job: Job) -> None:
        """Add what a job trains beyond the checkpoint it starts from; a score with a supernet's weights is nothing."""
        self.resource += max(0, job.resource - (self.reached.of(job.start_from) if job.start_from else 0))
        self.reached.add(job)


def _pause(lost: Result, attempt: int) -> float:
    """Seconds until a lost job is submitted again: none when nobody was left to say where it ran."""
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 4 ** min(attempt - 1, 9)) if lost.executor else 0.0


class _Resources:
    """The resource of every job that was handed out, in 8 bytes each: a dict would take a million trials' 200 MB."""

    def __init__(self) -> None:
        self._rungs: dict[int, array[int]] = {}

    def add(self, job: Job) -> None:
        """Remember a job; trials are numbered without gaps."""
        rung = self._rungs.setdefault(job.rung, array("q"))
        rung.extend([0] * (job.trial.trial_id + 1 - len(rung)))
        rung[job.trial.trial_id] = job.resource

    def of(self, key: JobKey) -> int:
        """The resource of a job; 0 of one that was never handed out."""
        rung = self._rungs.get(key.rung, ())
        return rung[key.trial_id] if key.trial_id < len(rung) else 0
