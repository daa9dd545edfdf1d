"""What every store must do, on a disk, on S3 over HTTP, and on S3 behind a network that fails."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spark_nas.errors import OutputError
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import probe, require_conditional_writes
from tests.faulty_proxy import FAULTS, Plan, faulty_proxy
from tests.s3_endpoint import S3

names = st.text("abc-_.0", min_size=1, max_size=4).filter(lambda name: not name.startswith("."))


@pytest.fixture(scope="session")
def failing(s3_server: S3) -> Iterator[str]:
    """The endpoint behind a proxy that lets every tenth request fail in one way or another."""
    # Without SlowDown, which does what it says to whoever obeys it; the chaos tests have it.
    faults = [fault for fault in FAULTS if fault != "slow down 503"]
    with faulty_proxy(s3_server.endpoint, Plan(0.1, faults=faults, delay=0.05)) as url:
        yield url


@pytest.fixture(params=["disk", "s3", "failing s3"])
def files(request: pytest.FixtureRequest, tmp_path: Path, s3: S3) -> Files:
    if request.param == "disk":
        return LocalFiles(tmp_path / "root")
    endpoint = s3.endpoint if request.param == "s3" else request.getfixturevalue("failing")
    return open_files(s3.prefix(), s3.options(endpoint=endpoint, max_attempts=8))


def test_what_is_written_is_read(files: Files):
    files.write("a/b", b"one")
    files.write("a/b", b"two")
    assert files.read("a/b") == b"two"


def test_a_missing_file_reads_as_none_and_a_missing_folder_lists_as_empty(files: Files):
    assert (None, [], []) == (files.read("nothing"), files.list("nowhere"), files.folders("nowhere"))


def test_delete_is_idempotent(files: Files):
    files.write("x", b"1")
    files.delete("x")
    files.delete("x")
    assert files.read("x") is None


def test_a_new_file_is_created_once_and_never_changed(files: Files):
    assert files.write_new("folder/x", b"1") is True
    assert files.write_new("folder/x", b"2") is False
    assert files.read("folder/x") == b"1"


def test_only_one_of_many_creators_wins(files: Files):
    wins: list[int] = []

    def create(number: int) -> None:
        if files.write_new("folder/commit", str(number).encode()):
            wins.append(number)

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(n).encode() for n in wins] == [files.read("folder/commit")]


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.tuples(names, names), st.binary(max_size=20), min_size=1, max_size=4))
def test_listings_tell_what_is_there(files: Files, content: dict[tuple[str, str], bytes]):
    here = files.below(f"x{abs(hash(frozenset(content)))}")
    for (folder, name), data in content.items():
        here.write(f"{folder}/{name}", data)
    assert here.folders("") == sorted({folder for folder, _ in content})
    for folder in {folder for folder, _ in content}:
        assert here.list(folder) == sorted(name for f, name in content if f == folder)
        assert here.folders(folder) == []
    for (folder, name), data in content.items():
        assert here.below(folder).read(name) == data


def test_hidden_files_and_folders_are_not_listed(files: Files):
    files.write(".hidden/x", b"")
    files.write("folder/.hidden", b"")
    assert ([], ["folder"]) == (files.list("folder"), files.folders(""))


@pytest.mark.parametrize("name", ["../outside", "a/../../outside", "/etc/outside", "a\\..\\outside", "a\nb outside"])
def test_a_name_cannot_leave_the_root(files: Files, name: str):
    for operation in (files.read, files.delete, files.list, files.folders):
        with pytest.raises(OutputError, match="outside"):
            operation(name)
    with pytest.raises(OutputError, match="outside"):
        files.write(name, b"")


def test_a_pickled_store_is_the_same_store(files: Files):
    files.write("x", b"1")
    again = pickle.loads(pickle.dumps(files))
    assert (b"1", files.root) == (again.read("x"), again.root)


def test_the_probe_finds_nothing_wrong_and_leaves_nothing_behind(files: Files):
    assert [check for check in probe(files) if not check.passed] == []
    require_conditional_writes(files)
    assert ([], []) == (files.list(""), files.folders(""))
