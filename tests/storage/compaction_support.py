"""Runs with many small parts, and stores in which something happens at a given operation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from spark_nas.search.records import Job, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.compaction import compact
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.parts import FAN
from spark_nas.storage.results import ParquetLog

APPENDS = 2 * FAN + 3


def result(trial: int) -> Result:
    return Result(Job(Trial(trial, Architecture({"e": "skip"}), {"lr": 0.5}), 0, 1), "completed", trial / 8)


def append_plainly(folder: Path, begin: int, end: int) -> None:
    """Appends `begin` to `end` - 1, of two rows each, without compaction."""
    log = ParquetLog(LocalFiles(folder), "r")
    log._compactor.want = lambda: None  # type: ignore[method-assign]
    for trial in range(begin, end):
        log.append([result(2 * trial), result(2 * trial + 1)], 2 * trial + 2)


def trials(folder: Path) -> list[int]:
    return [row.job.trial.trial_id for row, _ in ParquetLog(LocalFiles(folder), "r").rows()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "results").iterdir())


def content(folder: Path) -> dict[str, bytes]:
    """All there is of the table: where it is the same, the same will come of it."""
    return {path.name: path.read_bytes() for path in (folder / "results").iterdir()}


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
