"""The lease between real processes on this machine: who is dead, who hangs, and who is meant by a pid."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from spark_nas.errors import RunHeld
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease, read_lease
from tests.storage.lease_support import World, lease


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path)


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
