"""A run of many small parts, made once; and stores that are asked again soon."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.storage.compaction_support import APPENDS, append_plainly


@pytest.fixture(scope="module")
def small_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with `APPENDS` parts that nobody has merged. Never to be changed."""
    folder = tmp_path_factory.mktemp("small")
    append_plainly(folder, 0, APPENDS)
    return folder


@pytest.fixture
def run(small_parts: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small_parts, tmp_path / "run"))


@pytest.fixture
def brief_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request to S3 that failed is repeated a hundred times as soon: how pauses grow is for test_s3_calls to show."""
    monkeypatch.setattr("spark_nas.storage.s3_calls._FIRST_PAUSE", 0.001)
