"""What a store can do is found out by doing it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.errors import OutputError, StoreUnavailable
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import MOST_SKEW, probe, require_conditional_writes, skewed
from spark_nas.storage.s3 import S3Files
from tests.s3_endpoint import S3

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Failing(LocalFiles):
    """A disk of which one operation is broken."""

    def __init__(self, root: Path, broken: str) -> None:
        super().__init__(root)
        self.broken, self.asked = broken, list[str]()

    def write(self, name: str, content: bytes) -> None:
        self.asked.append("write")
        if self.broken == "away":
            raise StoreUnavailable("away")
        super().write(name, content)

    def read(self, name: str) -> bytes | None:
        self.asked.append("read")
        return b"rubbish" if self.broken == "read" else super().read(name)

    def list(self, folder: str) -> list[str]:
        return [] if self.broken == "list" else super().list(folder)

    def delete(self, name: str) -> None:
        if self.broken != "delete":
            super().delete(name)


def test_a_store_that_can_do_all_is_found_to_and_s3_is_asked_for_its_clock_too(s3: S3, tmp_path: Path):
    for files, names in (
        (LocalFiles(tmp_path), ["write", "read", "list", "conditional write", "delete"]),
        (S3Files(s3.prefix(), s3.options()), ["write", "read", "list", "conditional write", "clock", "delete"]),
    ):
        assert [(check.name, check.passed, check.reason) for check in probe(files)] == [(n, True, "") for n in names]
        assert files.list("") == []


@pytest.mark.parametrize("broken", ["read", "list", "delete"])
def test_what_is_broken_is_named(broken: str, tmp_path: Path):
    assert broken in [check.name for check in probe(Failing(tmp_path, broken)) if not check.passed]


def test_a_store_that_is_away_is_asked_once(tmp_path: Path):
    files = Failing(tmp_path, "away")
    assert [(check.name, check.reason) for check in probe(files)] == [("write", "away")]
    assert files.asked == ["write"]


def test_a_store_without_conditional_writes_is_refused_without_asking_it():
    began = datetime.now(UTC)
    for location in ("gs://bucket/x", "abfss://container@account.dfs.core.windows.net/x"):
        with pytest.raises(OutputError, match="no run can be made here"):
            require_conditional_writes(open_files(location))
    assert datetime.now(UTC) - began < timedelta(seconds=10)


@given(ahead=st.floats(-1e6, 1e6), took=st.floats(0, 100))
def test_clocks_may_differ_by_a_minute(ahead: float, took: float):
    before, after = NOON + timedelta(seconds=ahead), NOON + timedelta(seconds=ahead + took)
    reason = skewed(before, NOON, after)
    if ahead > MOST_SKEW + 1e-3:
        assert reason is not None
        assert f"{ahead:.0f} s ahead of" in reason
    elif ahead + took < -MOST_SKEW - 1e-3:
        assert reason is not None
        assert "behind the store's" in reason
    elif -MOST_SKEW < ahead + took and ahead < MOST_SKEW:
        assert reason is None


def test_a_file_that_vanished_has_no_time():
    assert skewed(NOON, None, NOON) == "what was written is not there"
