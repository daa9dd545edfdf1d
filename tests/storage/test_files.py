"""LocalFiles: atomic whole-file operations."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from spark_nas.errors import OutputError
from spark_nas.storage.files import LocalFiles


def test_what_is_written_is_read(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("a/b", b"one")
    files.write("a/b", b"two")
    assert files.read("a/b") == b"two"


def test_a_missing_file_reads_as_none_and_a_missing_folder_lists_as_empty(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    assert (files.read("nothing"), files.list("nowhere")) == (None, [])


def test_only_one_of_many_creators_wins(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    wins: list[int] = []

    def create(number: int) -> None:
        if files.write_new("folder/commit", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(n).encode() for n in wins] == [files.read("folder/commit")]


def test_no_temporary_file_is_left_or_listed(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("x", b"1")
    files.write_new("x", b"2")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x"] == files.list(".")


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/outside"])
def test_a_name_cannot_leave_the_root(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="outside"):
        LocalFiles(tmp_path / "root").write(name, b"")


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError, match="file/runs"):
        LocalFiles(tmp_path / "file" / "runs").write("x", b"")


def test_delete_is_idempotent(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("x", b"1")
    files.delete("x")
    files.delete("x")
    assert files.read("x") is None
