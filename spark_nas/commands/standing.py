"""Where a run stands, from its folder alone: what `status` and `list` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from spark_nas.assemble import build_recipes, build_scheduler
from spark_nas.commands.runs import recorded_experiment
from spark_nas.driver import replay
from spark_nas.errors import OutputError, SparkNasError
from spark_nas.report.status import Driver, State, Status, Tally
from spark_nas.storage.files import Files
from spark_nas.storage.lease import read_lease
from spark_nas.storage.record import read_record
from spark_nas.storage.results import ParquetLog


def standing(files: Files, *, now: datetime | None = None) -> Status | None:
    """The status of the run in `files`; None where no run has begun. Nothing is written.

    Raises OutputError when the record or a row cannot be read. `now` is the time by which a lease counts as expired.
    """
    record = read_record(files)
    if record is None:
        return None
    measured = _Measured(files)
    log = ParquetLog(measured, record["run_id"], record["environment"])
    tally = Tally()
    for result, asked in log.rows():
        tally.add(result, asked)
    driver = _driver(files, now or datetime.now(UTC))
    return tally.status(
        record,
        experiment=str(record["experiment"].get("name") or PurePath(record["file"]).stem),
        state=_state(record, log, tally, driver),
        driver=driver,
        files=len(measured.sizes),
        size=sum(measured.sizes.values()),
    )


class _Measured:
    """A store of which it is known how much was read."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self.sizes: dict[str, int] = {}

    @property
    def root(self) -> str:
        return self._files.root

    def read(self, name: str) -> bytes | None:
        content = self._files.read(name)
        if content is not None:
            self.sizes[name] = len(content)
        return content

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the store's other methods
        return getattr(self._files, name)


def _driver(files: Files, now: datetime) -> Driver | None:
    lease = read_lease(files)
    if lease is None:
        return None
    return Driver(
        holder=str(lease.holder),
        last_seen=lease.renewed_at,
        valid_until=lease.renewed_at + timedelta(seconds=lease.seconds),
        alive=not lease.expired(now),
        ended_in_order=lease.released,
    )


def _state(record: Mapping[str, Any], log: ParquetLog, tally: Tally, driver: Driver | None) -> State:
    if driver is not None and driver.alive:
        return "running"
    if tally.asked > tally.rows:
        return "stopped"
    try:
        return "done" if _finished(record, log, tally) else "stopped"
    except (SparkNasError, ValueError, TypeError, LookupError):  # another version's experiment, or a module not here
        return "unclear"


def _finished(record: Mapping[str, Any], log: ParquetLog, tally: Tally) -> bool:
    """Whether the search would ask for nothing more: its scheduler is brought to where the rows end, and asked."""
    experiment = recorded_experiment(record)
    budget = experiment.budget
    # The record has the budget of the first call; a run that went beyond it was given another one.
    if tally.asked == budget.jobs or (budget.resource is not None and tally.epochs >= budget.resource):
        return True
    scheduler = build_scheduler(experiment, experiment.space.build(), build_recipes(experiment))
    flying, _ = replay(scheduler, log.rows())
    return not flying and not scheduler.ask(1)


def need(status: Status | None, files: Files) -> Status:
    """The status. Raises OutputError, with the remedy, where there is no run."""
    if status is None:
        raise OutputError(f"{files.root}: no run has begun here; give OUTPUT/RUN_ID of `spark-nas search`")
    return status
