"""One driver a run: taking, renewing, losing and handing on the lease, with clocks that the test turns."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from spark_nas.errors import LeaseLost, OutputError, RunHeld
from spark_nas.search.records import SUPERNET, Job, Result, Trial
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, LeasedLog, read_lease
from tests.driver_support import MemoryLog
from tests.storage.lease_support import HERE, THERE, World, lease


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
