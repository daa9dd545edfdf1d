"""ArrowFiles: all of `Files` but creating, over a real store (S3 by pyarrow, where there is one to ask)."""

from __future__ import annotations

import pickle

import pytest

from spark_nas.errors import OutputError
from spark_nas.storage.arrow_files import ArrowFiles
from spark_nas.storage.probe import probe
from tests.s3_endpoint import S3


@pytest.fixture
def files(s3: S3) -> ArrowFiles:
    return ArrowFiles(s3.prefix(), s3.options())


def test_what_is_written_is_read_listed_and_deleted(files: ArrowFiles):
    files.write("folder/x", b"one")
    files.write("folder/x", b"two")
    files.write("y", b"")
    assert (b"two", b"", None) == (files.read("folder/x"), files.read("y"), files.read("nothing"))
    assert (["folder"], ["y"], ["x"]) == (files.folders(""), files.list(""), files.list("folder"))
    assert ([], []) == (files.list("nowhere"), files.folders("nowhere"))
    assert files.below("folder").read("x") == b"two"
    files.delete("y")
    files.delete("y")
    assert files.read("y") is None


def test_a_pickled_store_is_the_same_store(files: ArrowFiles):
    files.write("x", b"1")
    again = pickle.loads(pickle.dumps(files))
    assert (b"1", files.root) == (again.read("x"), again.root)


def test_a_name_cannot_leave_the_root(files: ArrowFiles):
    for operation in (files.read, files.delete, files.list, files.folders, files.below):
        with pytest.raises(OutputError, match="outside"):
            operation("../outside")


def test_the_probe_finds_that_no_run_can_be_made_and_nothing_else(files: ArrowFiles):
    (wrong,) = [check for check in probe(files) if not check.passed]
    assert wrong.name == "conditional write"
    assert wrong.reason.startswith(f"{files.root}: no run can be made here: pyarrow offers no conditional write")


def test_a_bucket_that_is_not_there_is_said_in_one_line(s3: S3):
    with pytest.raises(OutputError, match="cannot write s3://no-such-bucket/x/y: ") as caught:
        ArrowFiles("s3://no-such-bucket/x", s3.options()).write("y", b"")
    assert len(str(caught.value).splitlines()) == 1
