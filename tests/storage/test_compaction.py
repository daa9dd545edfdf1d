"""Compaction: whatever dies, and whoever else is at work, no row is lost and none appears twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.storage.compaction import Compacted, compact, plan
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.locations import open_files
from spark_nas.storage.parts import FAN, Part, arrange, parse, stream
from spark_nas.storage.results import ParquetLog
from tests.s3_endpoint import S3
from tests.storage.compaction_support import (
    ALL,
    APPENDS,
    MERGED,
    Killed,
    Watched,
    append_plainly,
    at,
    content,
    die,
    names,
    operations_of,
    result,
    trials,
)


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
@pytest.mark.parametrize(
    "when",
    # Before an operation there is what was there after the one before it.
    [pytest.param("before", marks=pytest.mark.exhaustive), "after"],
)
def test_killed_at_any_operation_it_loses_and_doubles_nothing(
    small_parts: Path, run: Path, tmp_path: Path, when: str
) -> None:
    seen = [content(small_parts)] if when == "after" else []
    for operation in range(1, operations_of(run) + 1):
        folder = Path(shutil.copytree(small_parts, tmp_path / f"killed-{operation}"))
        with pytest.raises(Killed):
            compact(Watched(LocalFiles(folder), **{when: at(operation, die)}))  # type: ignore[arg-type]
        if content(folder) in seen:  # it was killed while it read
            continue
        seen.append(content(folder))
        assert trials(folder) == ALL
        append_plainly(folder, APPENDS, APPENDS + 1)
        assert trials(folder) == [*ALL, 2 * APPENDS, 2 * APPENDS + 1]
        compact(LocalFiles(folder))
        assert names(folder) == [*MERGED, "part-00000019.parquet"]
        assert trials(folder) == [*ALL, 2 * APPENDS, 2 * APPENDS + 1]
    assert len(seen) == 1 + 2 * (1 + FAN)  # as it was, and then each merged part published, each small one removed


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
    seen = list[dict[str, bytes]]()
    for call, _ in ends:
        folder = tmp_path / str(call)
        if content(folder) in seen:
            continue
        seen.append(content(folder))
        assert trials(folder) == ALL
        compact(LocalFiles(folder))
        assert [name for name in names(folder) if not name.startswith(".")] == MERGED
        assert trials(folder) == ALL
    assert len({tuple(sorted(state)) for state in seen}) > 2 * FAN


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
