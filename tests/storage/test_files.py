"""LocalFiles: atomic whole-file operations."""

from __future__ import annotations

import errno
import os
import resource
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_nas.errors import OutputError, RunHeld, SparkNasError, StoreUnavailable
from spark_nas.storage.disk import sync_folder
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Lease
from tests.storage.without_links import without_links


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


def raising(number: int) -> Callable[..., object]:
    def call(*_: object, **__: object) -> object:
        raise OSError(number, os.strerror(number))

    return call


OPERATIONS: dict[str, tuple[Callable[[LocalFiles], object], list[tuple[object, str]]]] = {
    "read": (lambda files: files.read("x"), [(Path, "read_bytes")]),
    "write": (lambda files: files.write("x", b"2"), [(Path, "mkdir"), (Path, "open"), (os, "fsync"), (os, "replace")]),
    "write ahead": (lambda files: files.write_ahead("x", b"2"), [(os, "fsync"), (os, "replace")]),
    "write new": (lambda files: files.write_new("y", b"2"), [(os, "fsync"), (os, "link")]),
    "list": (lambda files: files.list(""), [(os, "scandir")]),
    "folders": (lambda files: files.folders(""), [(os, "scandir")]),
    "delete": (lambda files: files.delete("x"), [(Path, "unlink")]),
}
"""Each operation, and the calls of the system by which it can fail."""


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        *((number, StoreUnavailable) for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE)),
        *((number, StoreUnavailable) for number in (errno.ENOTCONN, errno.EHOSTDOWN)),
        *((number, OutputError) for number in (errno.EACCES, errno.EROFS, errno.ENAMETOOLONG, errno.EINVAL)),
        *((number, OutputError) for number in (errno.ENOSPC, errno.EDQUOT)),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else errno.errorcode[value],
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_disk_that_fails_is_out_of_reach_and_one_that_refuses_is_the_user_s(
    operation: str, number: int, kind: type[SparkNasError], tmp_path: Path
) -> None:
    files = LocalFiles(tmp_path)
    files.write("x", b"1")
    act, calls = OPERATIONS[operation]
    for owner, name in calls:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, raising(number))
            with pytest.raises(SparkNasError, match=f"{tmp_path}.*: {os.strerror(number)}") as caught:
                act(files)
        assert type(caught.value) is kind
        assert (files.read("x"), files.read("y")) == (b"1", None)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


@pytest.mark.parametrize("call", ["link", "replace"])
def test_without_links_a_disk_that_fails_is_out_of_reach_too(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = LocalFiles(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        without_links(patch)
        patch.setattr(os, call, raising(errno.EIO))
        with pytest.raises(StoreUnavailable, match=os.strerror(errno.EIO)):
            files.write_new("x", b"1")
    without_links(monkeypatch)
    assert (files.read("x"), files.list(""), files.write_new("x", b"2"), files.read("x")) == (None, [], True, b"2")


def test_a_disk_that_fills_in_the_middle_of_a_file_leaves_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel stops the write at its limit, as it would on a full disk."""
    without_links(monkeypatch)
    files, limits = LocalFiles(tmp_path), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
        with pytest.raises(OutputError, match="File too large"):
            files.write_new("x", bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert (list(tmp_path.iterdir()), files.write_new("x", b"1")) == ([], True)


@pytest.mark.parametrize(
    "act",
    [
        lambda files: files.write("n" * 300, b""),
        lambda files: files.write_new("n" * 300, b""),
        lambda files: files.write("folder", b""),
        lambda files: files.read("folder"),
        lambda files: files.delete("folder"),
        lambda files: files.list("n" * 300),
        lambda files: files.delete("n" * 300),
    ],
)
def test_a_name_that_cannot_be_is_the_user_s_fault(act: Callable[[LocalFiles], object], tmp_path: Path) -> None:
    files = LocalFiles(tmp_path)
    files.write("folder/x", b"")
    with pytest.raises(OutputError):
        act(files)


def test_folders_that_the_file_system_cannot_sync_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "fsync", raising(errno.EINVAL))
    sync_folder(tmp_path)
    monkeypatch.setattr(os, "fsync", raising(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        sync_folder(tmp_path)


def test_a_link_whose_answer_was_lost_is_our_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An NFS client repeats its request, and the server finds the name taken: by the first."""
    link = os.link

    def repeated(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", repeated)
    files = LocalFiles(tmp_path)
    assert [files.write_new("x", content) for content in (b"1", b"2")] == [True, False]
    assert files.read("x") == b"1"
    with Lease(files), pytest.raises(RunHeld):
        Lease(files).acquire()
