"""A data set's folder on an object store: whole objects or none, the same content as on disk."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from spark_nas.data.folder import DataFolder, check_uri, files_below, open_folder
from spark_nas.errors import OptionError


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> DataFolder:
    """An empty folder on each kind of store."""
    if request.param == "disk":
        return open_folder(tmp_path)
    return open_folder(request.getfixturevalue("bucket"))


def put(folder: DataFolder, name: str, content: bytes) -> None:
    with folder.creating(name) as path:
        path.write_bytes(content)


def names(folder: DataFolder, below: str = "") -> list[str]:
    return sorted(entry.path for entry in files_below(folder, below) if entry.is_file)


def test_what_is_created_is_read_and_counted(folder: DataFolder) -> None:
    put(folder, "a/b.txt", b"first")
    put(folder, "a/b.txt", b"second one")
    put(folder, "c", b"")
    assert b"second one" == folder.read("a/b.txt")
    assert [10, None, 0] == folder.sizes(["a/b.txt", "a/nothing", "c"])
    assert ["a/b.txt", "c"] == names(folder)
    assert ["a/b.txt"] == names(folder, "a")


def test_nothing_is_there_before_the_block_ends_nor_after_an_error(folder: DataFolder) -> None:
    with pytest.raises(ZeroDivisionError), folder.creating("x") as path:  # noqa: PT012 - the middle is the point
        path.write_bytes(b"half")
        assert folder.read("x") is None
        raise ZeroDivisionError
    assert folder.read("x") is None
    assert [] == names(folder)


def test_removing_is_idempotent_and_leaves_the_rest(folder: DataFolder) -> None:
    for name in ("a/1", "a/2", "ab/3"):
        put(folder, name, b".")
    folder.remove("a/1")
    folder.remove("a/1")
    assert ["a/2", "ab/3"] == names(folder)
    folder.remove_all("a")
    folder.remove_all("a")
    assert ["ab/3"] == names(folder)
    assert [] == files_below(folder, "nowhere")


def test_a_folder_travels(folder: DataFolder) -> None:
    put(folder, "x", b"content")
    travelled = pickle.loads(pickle.dumps(folder))
    assert (folder, b"content") == (travelled, travelled.read("x"))


@pytest.mark.usefixtures("s3")
def test_a_store_that_refuses_is_an_error_in_one_line() -> None:
    folder = open_folder("s3://no-such-bucket-here/x")
    with pytest.raises(OSError, match="NoSuchBucket") as caught:
        put(folder, "x", b".")
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("s3a://b/c", "s3://b/c"),
        ("s3://b//c/d/", "s3://b/c/d"),
        ("gs://b", "gs://b"),
        ("abfss://container@account.dfs.core.windows.net/x", "abfss://container@account.dfs.core.windows.net/x"),
    ],
)
def test_a_place_has_one_name(uri: str, meant: str) -> None:
    assert meant == check_uri(uri)


@pytest.mark.parametrize("uri", ["ftp://b/c", "s3:///c", "s3://b/../c", "s3://b/c?region=x", "https://b/c"])
def test_an_unusable_uri_is_refused_with_the_remedy(uri: str) -> None:
    with pytest.raises(OptionError, match="path: '"):
        check_uri(uri)
