"""Leases on clocks that the test turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease

HERE, THERE = Holder("here", 1), Holder("there", 2)
"""Two drivers of which no machine can tell whether they live."""


@dataclass
class World:
    """Time, and what happens in it."""

    seconds: float = 0.0
    on_tick: list[Callable[[], None]] = field(default_factory=list)

    def clock(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        for happening in self.on_tick:
            happening()


def lease(files: LocalFiles, world: World, holder: Holder, skew: float = 0.0) -> Lease:
    def now() -> datetime:
        return world.now() + timedelta(seconds=skew)

    return Lease(files, seconds=30, holder=holder, sleep=world.sleep, clock=world.clock, now=now)
