"""One driver a run: taking, renewing, losing and handing on the lease, with clocks that the test turns."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from spark_nas.errors import LeaseLost, OutputError, RunHeld
from spark_nas.search.records import SUPERNET, Job, Result, Trial
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease, LeasedLog, read_lease
from tests.driver_support import MemoryLog

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


@pytest.mark.parametrize("skew", [-3600, 0, 250, 3600])
def test_a_second_driver_is_refused_while_the_first_renews_and_told_who_holds_the_run(files: LocalFiles, skew: float):
    world = World()
    first = lease(files, world, HERE)
    first.acquire()
    world.on_tick.append(first.renew)
    with pytest.raises(RunHeld, match="process 1 on here holds this run"):
        lease(files, world, THERE, skew).acquire()
    assert world.seconds <= 30
    first.check()


@pytest.mark.parametrize("skew", [-3600, 0, 250, 3600])
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


def test_a_lease_of_another_machine_is_watched_however_long_it_seems_to_have_expired(files: LocalFiles):
    world = World()
    lease(files, world, HERE).acquire()
    world.seconds = 100_000
    lease(files, world, THERE).acquire()
    assert world.seconds == 100_030


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
    lease(files, World(), HERE).acquire()
    barrier, outcomes = threading.Barrier(8), []

    class Watching(World):
        """In whose clock all have seen the lease before it is over for anybody, and it is over at once."""

        def sleep(self, seconds: float) -> None:
            barrier.wait()
            self.seconds = 1000

    def take(number: int) -> None:
        mine = lease(files, Watching(), Holder("there", number))
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


@pytest.mark.parametrize("error", [OutputError, OSError, ZeroDivisionError])
def test_a_holder_whose_store_is_away_holds_on_for_as_long_as_the_lease_is_valid(
    files: LocalFiles, error: type[Exception]
):
    world = World()

    class Away(LocalFiles):
        def list(self, folder: str) -> list[str]:
            raise error("the store is away")

    mine = lease(files, world, HERE)
    mine.acquire()
    mine._files = Away(files.root)
    world.seconds = 29
    mine.renew()  # in a thread that goes on, so it raises nothing
    mine.check()
    world.seconds = 31
    mine.renew()
    with pytest.raises(LeaseLost, match="could not be renewed for 30 s: the store is away"):
        mine.check()


@pytest.mark.parametrize("renews_first", [False, True])
def test_a_holder_that_was_asleep_or_whose_renewal_hangs_knows_by_the_clock_alone(
    files: LocalFiles, renews_first: bool
):
    world = World()
    mine = lease(files, world, HERE)
    mine.acquire()
    world.seconds = 31
    if renews_first:  # which brings nothing back: another may have watched it to its end, and be about to take it
        mine.renew()
    with pytest.raises(LeaseLost, match="could not be renewed for 30 s; the same command continues"):
        mine.check()


def test_a_renewal_counts_from_its_beginning_for_a_watcher_may_have_read_the_file_while_it_was_under_way(
    files: LocalFiles,
):
    world = World()

    class Slow(LocalFiles):
        def write(self, name: str, content: bytes) -> None:
            super().write(name, content)
            world.seconds += 20

    mine = lease(files, world, HERE)
    mine.acquire()
    mine._files = Slow(files.root)
    world.seconds = 10
    mine.renew()
    world.seconds = 40
    mine.check()
    world.seconds = 41
    with pytest.raises(LeaseLost):
        mine.check()


def test_rows_are_taken_for_as_long_as_the_lease_is_held(files: LocalFiles):
    world, log = World(), MemoryLog()
    mine = lease(files, world, HERE)
    mine.acquire()
    leased = LeasedLog(log, mine)
    leased.append([Result(Job(Trial(0, SUPERNET), 0, 1), "completed", 0.5)], 1)
    world.seconds = 31
    with pytest.raises(LeaseLost):
        leased.append([Result(Job(Trial(1, SUPERNET), 0, 1), "completed", 0.5)], 2)
    assert [(0, 1)] == [(result.job.trial.trial_id, asked) for result, asked in leased.rows()]


def test_a_lease_lost_to_the_store_is_released_once_the_store_is_back_and_another_drivers_is_not(files: LocalFiles):
    world = World()
    mine, theirs = lease(files, world, HERE), lease(files, world, THERE)
    mine.acquire()
    world.seconds = 31
    with pytest.raises(LeaseLost):
        mine.check()
    mine.release()
    assert read_lease(files).released  # type: ignore[union-attr]
    theirs.acquire()
    world.seconds = 100
    lease(files, world, HERE).acquire()
    theirs.release()
    info = read_lease(files)
    assert info is not None
    assert (3, False) == (info.number, info.released)


@contextmanager
def holding_process(files: LocalFiles) -> Iterator[subprocess.Popen[str]]:
    """A process that takes the lease and never renews it."""
    program = (
        "import sys, time\nfrom spark_nas.storage.files import LocalFiles\nfrom spark_nas.storage.lease import Lease\n"
        f"Lease(LocalFiles({files.root!r})).acquire()\nprint('held', flush=True)\ntime.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def test_the_lease_of_a_process_killed_on_this_machine_is_taken_at_once(files: LocalFiles):
    with holding_process(files) as process, pytest.raises(RunHeld, match=f"process {process.pid} on"):
        Lease(files).acquire()
    with Lease(files) as mine:
        mine.check()
        info = read_lease(files)
        assert info is not None
        assert (info.holder.pid, info.number, info.released) == (os.getpid(), 2, False)
    assert read_lease(files).released  # type: ignore[union-attr]


def test_a_driver_that_hangs_on_this_machine_is_watched_and_loses_its_lease(files: LocalFiles):
    with holding_process(files):
        began = (datetime.now(UTC) - World().now()).total_seconds() + 31
        world = World(began)
        lease(files, world, Holder.me()).acquire()
        assert 30 == pytest.approx(world.seconds - began)


def test_what_this_process_held_and_could_not_release_it_may_take_again_at_once_and_what_it_holds_not(
    files: LocalFiles,
):
    class Away(LocalFiles):
        def list(self, folder: str) -> list[str]:
            raise OSError("the store is away")

    mine = Lease(files)
    mine.acquire()
    with pytest.raises(RunHeld, match=f"process {os.getpid()} on"):
        Lease(files).acquire()
    mine._files = Away(files.root)
    mine.release()
    assert not read_lease(files).released  # type: ignore[union-attr]
    began = time.monotonic()
    with Lease(files) as again:
        again.check()
    assert time.monotonic() - began < 5


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
