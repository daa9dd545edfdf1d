"""One driver a run: taking, renewing, losing and handing on the lease, with clocks that the test turns."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spark_nas.errors import LeaseLost, OutputError, RunHeld
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease, read_lease

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


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


@pytest.mark.parametrize("skew", [-3600, 0, 250])
def test_a_second_driver_is_refused_while_the_first_renews_and_told_who_holds_the_run(files: LocalFiles, skew: float):
    world = World()
    first = lease(files, world, HERE)
    first.acquire()
    world.on_tick.append(first.renew)
    with pytest.raises(RunHeld, match="process 1 on here holds this run"):
        lease(files, world, THERE, skew).acquire()
    assert world.seconds <= 30
    first.check()


@pytest.mark.parametrize("skew", [-3600, 0, 250])
def test_a_lease_that_nobody_renews_is_taken_over_when_it_has_expired_whatever_the_clocks_say(
    files: LocalFiles, skew: float
):
    world = World()
    first, second = lease(files, world, HERE), lease(files, world, THERE, skew)
    first.acquire()
    second.acquire()
    assert world.seconds == 30
    first.renew()
    with pytest.raises(LeaseLost, match="process 2 on there has taken this run over"):
        first.check()
    second.renew()
    second.check()


def test_a_lease_long_expired_is_taken_at_once(files: LocalFiles):
    world = World()
    lease(files, world, HERE).acquire()
    world.seconds = 301
    lease(files, world, THERE).acquire()
    assert world.seconds == 301


def test_a_released_lease_is_taken_at_once_also_while_it_is_being_watched(files: LocalFiles):
    world = World()
    first = lease(files, world, HERE)
    first.acquire()
    first.release()
    second = lease(files, world, THERE)
    second.acquire()
    assert world.seconds == 0
    world.on_tick.append(second.release)
    lease(files, world, HERE).acquire()
    assert world.seconds == 1


def test_of_many_drivers_that_take_an_expired_lease_together_one_gets_it(files: LocalFiles):
    world = World()
    lease(files, world, HERE).acquire()
    world.seconds = 1000
    barrier, outcomes = threading.Barrier(8), []

    class Impatient(World):
        """Whoever comes when the run is taken again gives up: in a clock of its own no time is too long to wait."""

        def sleep(self, seconds: float) -> None:
            raise RunHeld("has just been taken")

    def take(number: int) -> None:
        mine = lease(files, Impatient(1000), Holder("there", number))
        barrier.wait()
        try:
            mine.acquire()
            outcomes.append(number)
        except RunHeld:
            outcomes.append(None)

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [winner] = [number for number in outcomes if number is not None]
    info = read_lease(files)
    assert len(outcomes) == 8
    assert info is not None
    assert (winner, 2) == (info.holder.pid, info.number)


def test_a_holder_whose_store_is_away_holds_on_for_as_long_as_the_lease_is_valid(files: LocalFiles):
    world = World()

    class Away(LocalFiles):
        def list(self, folder: str) -> list[str]:
            raise OutputError("the store is away")

    mine = lease(files, world, HERE)
    mine.acquire()
    mine._files = Away(files.root)
    world.seconds = 29
    mine.renew()
    mine.check()
    world.seconds = 31
    mine.renew()
    with pytest.raises(LeaseLost, match="could not be renewed for 30 s: the store is away"):
        mine.check()


def test_the_lease_of_a_process_killed_on_this_machine_is_taken_at_once(files: LocalFiles):
    holding = (
        "import sys, time\nfrom spark_nas.storage.files import LocalFiles\nfrom spark_nas.storage.lease import Lease\n"
        f"Lease(LocalFiles({files.root!r})).acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", holding], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(RunHeld, match=f"process {process.pid} on"):
            Lease(files).acquire()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with Lease(files) as mine:
        mine.check()
        info = read_lease(files)
        assert info is not None
        assert (info.holder.pid, info.number, info.released) == (os.getpid(), 2, False)
    assert read_lease(files).released  # type: ignore[union-attr]


def test_a_pid_that_is_used_again_is_not_the_holder():
    me = Holder.me()
    assert me.alive() is True
    assert replace(me, started="1").alive() is False
    assert replace(me, host="elsewhere").alive() is None


def test_a_damaged_lease_counts_as_released(files: LocalFiles):
    files.write("_lease/00000007.json", b"{")
    with Lease(files):
        info = read_lease(files)
        assert info is not None
        assert info.number == 8


def test_a_renewing_thread_keeps_the_lease(files: LocalFiles):
    with Lease(files, seconds=3) as mine:
        while read_lease(files).renewals < 3:  # type: ignore[union-attr]  # by then it would have expired
            mine.check()
            time.sleep(0.02)


def test_a_process_may_take_its_run_again_after_releasing_it(files: LocalFiles):
    for number in (1, 2, 3):
        with Lease(files):
            assert read_lease(files).number == number  # type: ignore[union-attr]
