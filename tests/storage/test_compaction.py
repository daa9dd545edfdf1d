"""Compaction: whatever dies, and whoever else is at work, no row is lost and none appears twice."""

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
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.errors import OutputError
from spark_nas.search.records import Job, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.compaction import Compacted, compact, plan
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.locations import open_files
from spark_nas.storage.parts import FAN, Part, arrange, list_parts, parse, stream
from spark_nas.storage.results import ParquetLog
from tests.s3_endpoint import S3

APPENDS = 2 * FAN + 3


def result(trial: int) -> Result:
    return Result(Job(Trial(trial, Architecture({"e": "skip"}), {"lr": 0.5}), 0, 1), "completed", trial / 8)


def append_plainly(folder: Path, begin: int, end: int) -> None:
    """Appends `begin` to `end` - 1, of two rows each, without compaction."""
    log = ParquetLog(LocalFiles(folder), "r")
    log._compactor.want = lambda: None  # type: ignore[method-assign]
    for trial in range(begin, end):
        log.append([result(2 * trial), result(2 * trial + 1)], 2 * trial + 2)


@pytest.fixture(scope="module")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `APPENDS` parts that nobody has merged. Never to be changed."""
    folder = tmp_path_factory.mktemp("small")
    append_plainly(folder, 0, APPENDS)
    return folder


@pytest.fixture
def run(small_parts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_parts, tmp_path / "run"))


def trials(folder: Path) -> list[int]:
    return [row.job.trial.trial_id for row, _ in ParquetLog(LocalFiles(folder), "r").rows()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "results").iterdir())


MERGED = [
    "part-00000000-00000007.parquet",
    "part-00000008-00000015.parquet",
    "part-00000016.parquet",
    "part-00000017.parquet",
    "part-00000018.parquet",
]
ALL = list(range(2 * APPENDS))


class Killed(BaseException):
    """The process is gone."""


class Watched:
    """A store, with something happening before or after each operation."""

    def __init__(
        self,
        files: Files,
        before: Callable[[int], None] = lambda _: None,
        after: Callable[[int], None] = lambda _: None,
    ):
        self.files, self.operations, self._before, self._after = files, 0, before, after

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the store has
        value = getattr(self.files, name)
        if name not in ("read", "write", "write_new", "list", "delete"):
            return value

        def watched(*arguments: object) -> object:
            self.operations += 1
            now = self.operations
            self._before(now)
            answer = value(*arguments)
            self._after(now)
            return answer

        return watched


def at(operation: int, act: Callable[[], object]) -> Callable[[int], None]:
    def happen(now: int) -> None:
        if now == operation:
            act()

    return happen


def die() -> None:
    raise Killed


def operations_of(folder: Path) -> int:
    files = Watched(LocalFiles(folder))
    compact(files)
    return files.operations


@given(appends=st.integers(1, 5000))
def test_the_plan_leaves_the_parts_in_order_and_few(appends: int) -> None:
    parts = tuple(Part(i, i) for i in range(appends))
    blocks = plan(parts, set())
    merged = arrange([*parts, *(block for block, _ in blocks)]).parts
    assert merged[-1].last + 1 == sum(part.last - part.first + 1 for part in merged) == appends
    assert len(merged) == sum(int(digit) for digit in oct(appends)[2:])
    assert [] == plan(merged, set())
    assert all(parse(part.name.removeprefix("results/")) == part for part in merged)


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_however_a_table_grew_the_plan_finishes_it(sizes: list[int]) -> None:
    parts: tuple[Part, ...] = ()
    for size in sizes:
        end = parts[-1].last + 1 if parts else 0
        parts += tuple(Part(i, i) for i in range(end, end + size))
        parts = arrange([*parts, *(block for block, _ in plan(parts, set()))]).parts
    assert len(parts) == sum(int(digit) for digit in oct(sum(sizes))[2:])


def test_small_parts_become_large_ones(run: Path) -> None:
    assert Compacted(merged=2, removed=2 * FAN) == compact(LocalFiles(run))
    assert (names(run), trials(run)) == (MERGED, ALL)
    assert Compacted(0, 0) == compact(LocalFiles(run))


@pytest.mark.slow
def test_a_search_leaves_few_files_and_its_log_goes_on(tmp_path: Path) -> None:
    for begin, end in ((0, 150), (150, 200)):
        with ParquetLog(LocalFiles(tmp_path), "r") as log:
            for trial in range(begin, end):
                log.append([result(trial)], trial + 1)
    assert ["part-00000000-00000063.parquet", "part-00000064-00000127.parquet"] == names(tmp_path)[:2]
    assert len(names(tmp_path)) == 4  # 200 is 310 in base 8
    assert trials(tmp_path) == list(range(200))
    assert duckdb.sql(f"select count(*) from '{tmp_path}/results/*.parquet'").fetchall() == [(200,)]


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_operation_it_loses_and_doubles_nothing(
    small_parts: Path, run: Path, tmp_path: Path, when: str
) -> None:
    for operation in range(1, operations_of(run) + 1):
        folder = Path(shutil.copytree(small_parts, tmp_path / f"killed-{operation}"))
        with pytest.raises(Killed):
            compact(Watched(LocalFiles(folder), **{when: at(operation, die)}))  # type: ignore[arg-type]
        assert trials(folder) == ALL
        append_plainly(folder, APPENDS, APPENDS + 1)
        assert trials(folder) == [*ALL, 2 * APPENDS, 2 * APPENDS + 1]
        compact(LocalFiles(folder))
        assert names(folder) == [*MERGED, "part-00000019.parquet"]
        assert trials(folder) == [*ALL, 2 * APPENDS, 2 * APPENDS + 1]


@pytest.mark.slow
def test_on_s3_it_loses_and_doubles_nothing_either(small_parts: Path, s3: S3) -> None:
    def upload() -> Files:
        files = open_files(s3.prefix())
        for path in (small_parts / "results").iterdir():
            files.write(f"results/{path.name}", path.read_bytes())
        return files

    whole = Watched(upload())
    compact(whole)
    assert whole.files.list("results") == MERGED
    for operation in range(FAN, whole.operations, FAN - 3):  # merging, publishing, removing: some of each
        files = upload()
        with pytest.raises(Killed):
            compact(Watched(files, after=at(operation, die)))
        log = ParquetLog(files, "r")
        assert [row.job.trial.trial_id for row, _ in log.rows()] == ALL
        with log:
            log.append([result(2 * APPENDS)], 2 * APPENDS + 1)
        assert files.list("results") == [*MERGED, "part-00000019.parquet"]
        assert [row.job.trial.trial_id for row, _ in ParquetLog(files, "r").rows()] == [*ALL, 2 * APPENDS]


KILLED_AT_EACH_CALL = """\
import os, pathlib, shutil, signal, sys
from spark_nas.storage.compaction import compact
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.locations import open_files

def kill_at(call):
    calls = 0
    def deadly(function):
        def wrapped(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)
        return wrapped
    os.link, os.fsync, pathlib.Path.unlink = map(deadly, (os.link, os.fsync, pathlib.Path.unlink))

call = 0
while True:
    call += 1
    folder = shutil.copytree(sys.argv[1], f"{sys.argv[2]}/{call}")
    child = os.fork()
    if child == 0:
        kill_at(call)
        compact(LocalFiles(folder))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(call, status)
    if status != -signal.SIGKILL:
        break
"""


@pytest.mark.slow
def test_a_process_killed_at_any_system_call_loses_and_doubles_nothing(small_parts: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_EACH_CALL, str(small_parts), str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    ends = [tuple(map(int, line.split())) for line in printed if line]
    assert [-signal.SIGKILL] * (len(ends) - 1) + [0] == [status for _, status in ends]
    assert len(ends) > 2 * (FAN + 3)
    seen = set()
    for call, _ in ends:
        folder = tmp_path / str(call)
        seen.add(tuple(names(folder)))
        assert trials(folder) == ALL
        compact(LocalFiles(folder))
        assert [name for name in names(folder) if not name.startswith(".")] == MERGED
        assert trials(folder) == ALL
    assert len(seen) > 2 * FAN


@pytest.mark.slow
def test_two_compactions_at_once_do_no_harm(small_parts: Path, run: Path, tmp_path: Path) -> None:
    """The second one, and appends, happen at each operation of the first."""
    for operation in range(1, operations_of(run) + 1):
        folder = Path(shutil.copytree(small_parts, tmp_path / f"two-{operation}"))

        def meanwhile(folder: Path = folder) -> None:
            append_plainly(folder, APPENDS, APPENDS + FAN)
            compact(LocalFiles(folder))

        compact(Watched(LocalFiles(folder), at(operation, meanwhile)))
        compact(LocalFiles(folder))
        assert trials(folder) == list(range(2 * (APPENDS + FAN)))
        assert len(names(folder)) == 3 + 3


@pytest.mark.slow
def test_a_reader_that_is_overtaken_reads_each_row_once(small_parts: Path, run: Path, tmp_path: Path) -> None:
    reading = Watched(LocalFiles(run))
    rows = list(stream(reading))
    assert len(rows) == APPENDS
    for operation in range(1, reading.operations + 1):
        folder = Path(shutil.copytree(small_parts, tmp_path / f"read-{operation}"))
        files = Watched(LocalFiles(folder), at(operation, lambda folder=folder: compact(LocalFiles(folder))))
        found = [trial for _, batch in stream(files) for trial in batch.column("trial_id").to_pylist()]
        assert found == ALL
        assert names(folder) == MERGED


def test_a_driver_that_was_asleep_cannot_write_where_another_has_written_and_merged(tmp_path: Path) -> None:
    append_plainly(tmp_path, 0, 3)
    asleep = ParquetLog(LocalFiles(tmp_path), "r")
    append_plainly(tmp_path, 3, FAN * FAN)
    compact(LocalFiles(tmp_path))
    assert names(tmp_path) == ["part-00000000-00000063.parquet"]
    with pytest.raises(OutputError, match=r"part-00000003\.parquet is there already: does another driver run 'r'"):
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
    """Another process that compacts the run in `tmp_path` for ever."""
    program = (
        "import sys\n"
        "from spark_nas.storage.compaction import compact\n"
        "from spark_nas.storage.files import LocalFiles\n"
        "while True: compact(LocalFiles(sys.argv[1]))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program, str(tmp_path)])
    yield process
    process.kill()
    process.wait()


@pytest.mark.slow
def test_a_search_a_reader_and_other_compactions_at_the_same_time(
    tmp_path: Path, compacting_process: subprocess.Popen[bytes]
) -> None:
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
            for trial in range(150):
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
    assert (trials(tmp_path), len(names(tmp_path))) == (list(range(150)), sum(map(int, oct(150)[2:])))
    assert not [name for name in os.listdir(tmp_path / "results") if not name.startswith("part-")]
