"""Creating on mounts without hard links: whoever dies or sleeps at whichever call, one creator wins, with all of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from spark_nas.errors import StoreUnavailable
from spark_nas.search.records import Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.compaction import compact
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.lease import Lease
from spark_nas.storage.probe import probe
from spark_nas.storage.record import begin, read_record
from spark_nas.storage.results import ParquetLog
from tests.storage.compaction_support import ALL, MERGED, names, trials
from tests.storage.without_links import Calls, without_links

FIRST = Result(Job(Trial(0, Architecture({"a": "x"}), {"lr": 0.1}), 0, 9), "completed", loss=0.25)
SECOND = Result(Job(Trial(1, Architecture({"a": "x"}), {"lr": 0.1}), 0, 9), "completed", loss=0.5)
KEY = JobKey(0, 0)
RECORD = {"run_id": "r", "experiment": {}, "file": "", "identity": {"space": "x"}, "max_resource": 9, "environment": {}}


@pytest.fixture
def linkless(monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch)


def everything(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def abandon(files: LocalFiles, name: str) -> None:
    """What a creator leaves that was killed just before the last step."""
    path = Path(files.root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"_{path.name}.claim").touch()
    path.with_name(f".{path.name}.new.0").write_bytes(b"of the dead")
    path.touch()


@pytest.mark.usefixtures("linkless")
def test_a_file_is_created_once_and_nothing_else_is_left(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert [files.write_new("a/b", content) for content in (b"1", b"2")] == [True, False]
    assert (files.read("a/b"), everything(tmp_path)) == (b"1", ["b"])


@pytest.mark.usefixtures("linkless")
def test_such_a_mount_passes_the_probe(tmp_path: Path) -> None:
    assert [check.reason for check in probe(LocalFiles(tmp_path)) if not check.passed] == []
    assert everything(tmp_path) == []


@pytest.mark.usefixtures("linkless")
@pytest.mark.parametrize("is_abandoned", [False, True])
def test_only_one_of_many_creators_wins(tmp_path: Path, is_abandoned: bool) -> None:
    """They give each other no time at all, so that each takes over from each."""
    files, wins = LocalFiles(tmp_path), list[bytes]()
    if is_abandoned:
        abandon(files, "commit")

    def creator(content: bytes) -> None:
        if files.write_new("commit", content):
            wins.append(content)

    threads = [threading.Thread(target=creator, args=(b"%d" % n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wins == [files.read("commit")]
    assert everything(tmp_path) == ["commit"]


def attempt(
    files: LocalFiles, content: bytes, wins: list[bytes], then: Callable[[], object] = lambda: None, call: int = 0
) -> int:
    """Creates `commit`, with something else happening before one of its calls; returns how many it made."""
    calls = Calls(call, then)
    with pytest.MonkeyPatch.context() as patch:
        calls.watch(patch)
        if files.write_new("commit", content):
            wins.append(content)
    return calls.made


def interrupted(folder: Path, is_abandoned: bool, outer: int, inner: int) -> tuple[int, int]:
    """One creator is interrupted before a call by another, and that one by a third; how many calls the two made."""
    files, wins, made = LocalFiles(folder), list[bytes](), [0]
    if is_abandoned:
        abandon(files, "commit")

    def third() -> None:
        attempt(files, b"third", wins)

    def second() -> None:
        made[0] = attempt(files, b"second", wins, third, inner)

    first = attempt(files, b"first", wins, second, outer)
    assert wins == [files.read("commit")], (outer, inner)
    assert everything(folder) == ["commit"], (outer, inner)
    return first, made[0]


@pytest.mark.slow
@pytest.mark.usefixtures("linkless")
@pytest.mark.parametrize("is_abandoned", [False, True])
def test_of_three_creators_that_interrupt_each_other_anywhere_one_wins(tmp_path: Path, is_abandoned: bool) -> None:
    outer = inner = 1
    while True:
        first, second = interrupted(tmp_path / f"{outer}-{inner}", is_abandoned, outer, inner)
        if first < outer:
            break
        outer, inner = (outer, inner + 1) if inner <= second else (outer + 1, 1)
    assert outer > 10


@pytest.mark.usefixtures("linkless")
@pytest.mark.parametrize("is_abandoned", [False, True])
def test_a_reader_sees_nothing_or_all_at_every_call(tmp_path: Path, is_abandoned: bool) -> None:
    seen, call, made = set[tuple[bytes | None, int]](), 0, 1
    while call <= made:
        call += 1
        files = LocalFiles(tmp_path / str(call))
        if is_abandoned:
            abandon(files, "commit")
        look = partial(lambda files: seen.add((files.read("commit"), len(files.list("")))), files)
        made = attempt(files, b"content", [], look, call)
    assert {(None, 0), (b"content", 1)} == seen


@pytest.mark.usefixtures("linkless")
@pytest.mark.parametrize(("call", "made"), [(1, 1), (2, 3)])
def test_a_reader_that_is_overtaken_reads_all(
    call: int, made: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LocalFiles(tmp_path)
    abandon(files, "x")
    calls = Calls(call, lambda: files.write_new("x", b"content"))
    calls.watch(monkeypatch, ((Path, "read_bytes"), (Path, "exists")))
    assert files.read("x") == b"content"
    assert calls.made == made


def test_an_empty_file_that_nobody_claimed_is_damaged_and_not_unwritten(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("x", b"")
    assert (files.read("x"), files.list(""), files.write_new("x", b"1")) == (b"", ["x"], False)


def test_a_claim_is_taken_over_also_where_the_run_was_copied_to_a_disk_with_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spark_nas.storage.creating._PATIENCE", 0.0)
    files = LocalFiles(tmp_path)
    abandon(files, "x")
    assert (files.write_new("x", b"1"), files.read("x"), everything(tmp_path)) == (True, b"1", ["x"])


def test_a_creator_at_work_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_links(monkeypatch, patience=60.0)
    files = LocalFiles(tmp_path)
    abandon(files, "x")
    thread = threading.Timer(0.2, (tmp_path / ".x.new.0").replace, [tmp_path / "x"])
    thread.start()
    assert (files.write_new("x", b"1"), files.read("x")) == (False, b"of the dead")


def test_whoever_is_disturbed_for_ever_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def steal(source: Path, _: Path) -> None:
        source.unlink()
        raise FileNotFoundError(2, "No such file or directory")

    without_links(monkeypatch)
    monkeypatch.setattr("os.replace", steal)
    monkeypatch.setattr("spark_nas.storage.creating._TURNS", 3)
    with pytest.raises(StoreUnavailable, match=r"/x: others keep trying to; the same command continues"):
        LocalFiles(tmp_path).write_new("x", b"1")


@pytest.mark.usefixtures("linkless")
def test_compaction_and_leases_work_without_links(run: Path) -> None:
    files = LocalFiles(run)
    for released in range(2):
        with Lease(files):
            assert len(files.list("_lease")) == 1 + released
    abandon(files, f"results/{MERGED[0]}")
    assert trials(run) == ALL
    compact(files)
    assert (names(run), trials(run)) == (MERGED, ALL)


@pytest.mark.usefixtures("linkless")
def test_an_abandoned_commit_is_committed_by_the_next_attempt_even_after_a_sweep(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    abandon(files, "checkpoints/000000/0/commit.json")
    for path in tmp_path.rglob(".*"):
        path.unlink()
    jobs = CommittedJobs(files)
    assert (jobs.committed(KEY), jobs.commit(FIRST, None), jobs.committed(KEY)) == (None, FIRST, FIRST)


KILLED_AT_EACH_CALL = """\
import os, signal, sys
from pathlib import Path
import pytest
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.record import begin
from spark_nas.storage.results import ParquetLog
from tests.storage.test_creating import FIRST, RECORD
from tests.storage.without_links import CHANGES, Calls, without_links

patch, call, status = pytest.MonkeyPatch(), 0, -signal.SIGKILL
without_links(patch)
while status == -signal.SIGKILL:
    call += 1
    files = LocalFiles(f"{sys.argv[1]}/{call}")
    child = os.fork()
    if child == 0:
        Calls(call, lambda: os.kill(os.getpid(), signal.SIGKILL)).watch(patch, CHANGES)
        begin(files, RECORD)
        log = ParquetLog(files, "r")
        log._compactor.want = lambda: None
        CommittedJobs(files).commit(FIRST, b"weights")
        log.append([FIRST], 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(call, status)
"""


@pytest.mark.slow
@pytest.mark.usefixtures("linkless")
def test_a_run_whose_driver_was_killed_at_any_call_goes_on_and_nothing_committed_is_lost(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_AT_EACH_CALL, str(tmp_path)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")
    ends = [tuple(map(int, line.split())) for line in printed if line]
    assert [-signal.SIGKILL] * (len(ends) - 1) + [0] == [status for _, status in ends]
    seen: list[tuple[bool, bool, int]] = []
    for call, _ in ends:
        files = LocalFiles(tmp_path / str(call))
        jobs, record = CommittedJobs(files), read_record(files)
        before = jobs.committed(KEY)
        rows = [row for row, _ in ParquetLog(files, "r").rows()]
        assert (before in (None, FIRST), record in (None, {"record_version": 1, **RECORD})) == (True, True)
        seen.append((record is not None, before is not None, len(rows)))

        begin(files, RECORD)
        winner = jobs.commit(replace(FIRST, loss=0.75), b"late")
        assert winner == jobs.committed(KEY) == (before or replace(FIRST, loss=0.75))
        assert jobs.checkpoint(KEY) == (b"weights" if before else b"late")
        with ParquetLog(files, "r") as log:
            for result in [SECOND] if rows else [FIRST, SECOND]:
                log.append([result], 2)
        assert [row.job.trial.trial_id for row, _ in ParquetLog(files, "r").rows()] == [0, 1]
    assert [(False, False, 0), (True, False, 0), (True, True, 0), (True, True, 1)] == list(dict.fromkeys(seen))
