"""Compaction among others: writers, readers, other compactions and damaged parts; no row is lost or doubled."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spark_nas.errors import LeaseLost, OutputError
from spark_nas.search.records import Result
from spark_nas.storage.compaction import Compacted, compact
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.parts import FAN, Part, list_parts
from spark_nas.storage.results import ParquetLog
from tests.storage.compaction_support import (
    ALL,
    APPENDS,
    MERGED,
    Killed,
    Watched,
    append_plainly,
    at,
    die,
    names,
    result,
    trials,
)


def test_a_driver_that_was_asleep_cannot_write_where_another_has_written_and_merged(tmp_path: Path) -> None:
    append_plainly(tmp_path, 0, 3)
    asleep = ParquetLog(LocalFiles(tmp_path), "r")
    append_plainly(tmp_path, 3, FAN * FAN)
    compact(LocalFiles(tmp_path))
    assert names(tmp_path) == ["part-00000000-00000063.parquet"]
    with pytest.raises(LeaseLost, match=r"part-00000003\.parquet is there already: does another driver run 'r'"):
        asleep.append([result(999)], 1)
    assert trials(tmp_path) == list(range(2 * FAN * FAN))
    compact(LocalFiles(tmp_path))
    assert names(tmp_path) == ["part-00000000-00000063.parquet"]


def test_a_part_that_another_compaction_merges_at_once_is_still_the_writer_s_own(tmp_path: Path) -> None:
    """The merge comes between the writing of the part and the look at whether its name had been used before."""

    class Quick(LocalFiles):
        def write_new(self, name: str, content: bytes) -> bool:
            created = super().write_new(name, content)
            compact(LocalFiles(tmp_path))
            return created

    log = ParquetLog(Quick(tmp_path), "r")
    log._compactor.want = lambda: None  # type: ignore[method-assign]
    for trial in range(0, 2 * FAN * FAN, 2):
        lost = Result(result(trial + 1).job, "failed", error="RuntimeError: out of memory")  # its loss is NaN
        log.append([result(trial), lost], trial + 2)
    assert names(tmp_path) == ["part-00000000-00000063.parquet"]
    assert trials(tmp_path) == list(range(2 * FAN * FAN))


def test_a_listing_that_misses_the_end_while_it_is_merged_is_made_again(tmp_path: Path) -> None:
    """Reading a folder is no snapshot: it may pass the merged part's name before it is there, and come to the others
    when they are gone. What is left then has no gap."""

    class Late(LocalFiles):
        late = False

        def list(self, folder: str) -> list[str]:
            found = super().list(folder)
            late, self.late = self.late, False
            return [name for name in found if not (late and name.startswith("part-00000008"))]

    append_plainly(tmp_path, 0, 2 * FAN)
    files = Late(tmp_path)
    log = ParquetLog(files, "r")
    compact(LocalFiles(tmp_path))
    files.late = True
    assert [row.job.trial.trial_id for row, _ in log.rows()] == list(range(4 * FAN))
    assert not files.late


@pytest.mark.parametrize("length", [0, 100, -9])
def test_a_merged_part_torn_by_a_kill_is_written_again_from_its_parts(run: Path, tmp_path: Path, length: int) -> None:
    """Where a mount has no hard links a file can be created, but not atomically."""
    whole = Path(shutil.copytree(run, tmp_path / "whole"))
    compact(LocalFiles(whole))
    content = (whole / "results" / MERGED[0]).read_bytes()
    (run / "results" / MERGED[0]).write_bytes(content[:length])
    assert trials(run) == ALL
    compact(LocalFiles(run))
    assert (names(run), trials(run)) == (MERGED, ALL)


def test_parts_whose_merged_part_is_damaged_are_not_removed(run: Path) -> None:
    whole = (run / "results/part-00000003.parquet").read_bytes()
    compact(LocalFiles(run))
    merged = run / "results" / MERGED[0]
    merged.write_bytes(merged.read_bytes()[:-9])
    (run / "results/part-00000003.parquet").write_bytes(whole)
    for attempt in (compact, lambda files: list(ParquetLog(files, "r").rows())):
        with pytest.raises(OutputError, match=f"{MERGED[0]} is not a results part"):
            attempt(LocalFiles(run))
    assert (run / "results/part-00000003.parquet").read_bytes() == whole


def test_a_damaged_part_is_named_and_stays(run: Path) -> None:
    victim = run / "results/part-00000009.parquet"
    victim.write_bytes(victim.read_bytes()[:-9])
    with pytest.raises(OutputError, match=r"part-00000009\.parquet is not a results part"):
        compact(LocalFiles(run))
    assert set(names(run)) >= {f"part-{number:08d}.parquet" for number in range(FAN, APPENDS)}


def test_parts_that_would_become_too_large_stay_as_they_are(run: Path) -> None:
    append_plainly(run, APPENDS, FAN * FAN)
    compact(LocalFiles(run))
    (one,) = names(run)
    most = (run / "results" / one).stat().st_size - 1
    shutil.rmtree(run)
    append_plainly(run, 0, FAN * FAN)
    full: set[Part] = set()
    compact(LocalFiles(run), largest=most, full=full)
    assert (len(names(run)), full) == (FAN, {Part(0, FAN * FAN - 1)})
    assert Compacted(0, 0) == compact(LocalFiles(run), largest=most, full=full)
    assert trials(run) == list(range(2 * FAN * FAN))


class NoSpace(LocalFiles):
    """A disk on which merged parts have no room, for a while."""

    room = False

    def write_new(self, name: str, content: bytes) -> bool:
        if "-0" in name.removeprefix("results/part-") and not self.room:
            raise OutputError(f"cannot write {name}: no space left")
        return super().write_new(name, content)


def test_a_compaction_that_fails_does_not_end_the_search_and_is_not_forgotten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = NoSpace(tmp_path)
    log = ParquetLog(files, "r")
    with caplog.at_level(logging.WARNING):
        for trial in range(FAN):
            log.append([result(trial)], trial + 1)
        with pytest.raises(OutputError, match="no space left"):
            log.close()
    assert "the results could not be compacted: cannot write" in caplog.text
    assert trials(tmp_path) == list(range(FAN))
    log._compactor.want()
    files.room = True
    log.close()
    log.close()
    assert names(tmp_path) == MERGED[:1]


def test_an_error_of_the_search_is_not_hidden_by_one_of_the_compaction(tmp_path: Path) -> None:
    def search() -> None:
        with ParquetLog(NoSpace(tmp_path), "r") as log:
            for trial in range(FAN):
                log.append([result(trial)], trial + 1)
            raise RuntimeError("of the search")

    with pytest.raises(RuntimeError, match="of the search"):
        search()


def test_a_writer_finishes_what_a_killed_compaction_has_left_and_a_reader_does_not(run: Path) -> None:
    with pytest.raises(Killed):
        compact(Watched(LocalFiles(run), before=at(2 * FAN, die)))
    left = names(run)
    assert list_parts(LocalFiles(run)).leftovers
    assert trials(run) == ALL
    assert left == names(run)
    with ParquetLog(LocalFiles(run), "r"):
        pass
    assert names(run) == MERGED


def repeatedly(ended: threading.Event, act: Callable[[], object], errors: list[BaseException]) -> None:
    try:
        while not ended.is_set():
            act()
    except BaseException as error:
        errors.append(error)


@pytest.fixture
def compacting_process(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that compacts the run in `tmp_path` for as long as this one lives."""
    program = (
        "import os, sys\n"
        "from spark_nas.storage.compaction import compact\n"
        "from spark_nas.storage.files import LocalFiles\n"
        "while os.getppid() == int(sys.argv[2]): compact(LocalFiles(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path), str(os.getpid())])
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_search_a_reader_and_other_compactions_at_the_same_time(
    tmp_path: Path, compacting_process: subprocess.Popen[bytes]
) -> None:
    appends = FAN * FAN + FAN + 3  # a part of each size
    ended, errors, seen = threading.Event(), list[BaseException](), list[int]()

    def read() -> None:
        found = trials(tmp_path)
        assert found == list(range(len(found)))
        assert not seen or len(found) >= seen[-1]
        seen.append(len(found))

    acts = (read, lambda: compact(LocalFiles(tmp_path)))
    threads = [threading.Thread(target=repeatedly, args=(ended, act, errors)) for act in acts]
    for thread in threads:
        thread.start()
    try:
        with ParquetLog(LocalFiles(tmp_path), "r") as log:
            for trial in range(appends):
                log.append([result(trial)], trial + 1)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert compacting_process.poll() is None
    compacting_process.send_signal(signal.SIGKILL)
    compacting_process.wait()
    compact(LocalFiles(tmp_path))
    assert [] == errors
    assert len(seen) > 1
    assert (trials(tmp_path), len(names(tmp_path))) == (list(range(appends)), sum(map(int, oct(appends)[2:])))
    assert not [name for name in os.listdir(tmp_path / "results") if not name.startswith("part-")]
