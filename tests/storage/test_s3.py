"""S3Files: large objects, what it says when something is wrong, and stores that lie."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spark_nas.errors import OptionError, OutputError, StoreUnavailable
from spark_nas.object_store import StorageOptions
from spark_nas.search.records import Job, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.locations import open_files
from spark_nas.storage.probe import require_conditional_writes
from spark_nas.storage.results import ParquetLog
from spark_nas.storage.s3 import S3Files
from tests.faulty_proxy import Plan, faulty_proxy
from tests.ports import reserved_port
from tests.s3_endpoint import S3

RESULT = Result(Job(Trial(3, Architecture({"a": "b"}), {"x": 1}, 7), 0, 1), "completed", 0.5)


def uploads(s3: S3) -> list[Any]:
    return list(s3.options().boto3_client().list_multipart_uploads(Bucket=s3.bucket).get("Uploads", ()))


def test_a_large_object_is_uploaded_in_parts_and_created_once(s3: S3):
    files = S3Files(s3.prefix(), s3.options(multipart_megabytes=5))
    content = bytes(range(256)) * (6 << 12)
    assert files.write_new("large", content)
    assert not files.write_new("large", content[:-1])
    assert files.read("large") == content
    files.write("large", content[::-1])
    assert files.read("large") == content[::-1]
    assert uploads(s3) == []


def test_s3a_is_another_word_for_s3(s3: S3):
    prefix = s3.prefix()
    open_files(prefix.replace("s3://", "s3a://")).write("x", b"1")
    assert open_files(prefix).read("x") == b"1"


@pytest.mark.parametrize("most", [1, 2])
def test_more_objects_than_one_answer_holds_are_listed_whole(s3: S3, most: int):
    """S3 gives a thousand at most in one answer; here it is asked for fewer, as nothing else differs."""
    options = s3.options(read_seconds=50.0 + most)  # for a client of its own
    files, answers = S3Files(s3.prefix(), options), list[int]()
    events = replace(options, max_attempts=1).boto3_client().meta.events
    events.register("provide-client-params.s3.ListObjectsV2", lambda params, **_: {**params, "MaxKeys": most})
    events.register("after-call.s3.ListObjectsV2", lambda parsed, **_: answers.append(parsed["KeyCount"]))
    names = [f"{n:04d}" for n in range(5)]
    for name in names:
        files.write(f"folder/{name}", b"")
        files.write(f"folder/of-{name}/x", b"")
    assert (names, [f"of-{name}" for name in names]) == (files.list("folder"), files.folders("folder"))
    assert 2 * [most] * (10 // most) == answers


@pytest.mark.usefixtures("brief_pauses")
def test_a_lost_answer_to_a_conditional_write_is_not_taken_for_a_defeat(s3: S3):
    with faulty_proxy(s3.endpoint, Plan(0.25, seed=4, faults=["answer lost"])) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=20))
        assert all(files.write_new(f"x{n}", b"") for n in range(10))
        assert not any(files.write_new(f"x{n}", b"") for n in range(10))


@pytest.mark.usefixtures("brief_pauses")
def test_truncated_answers_are_asked_for_again(s3: S3):
    plan = Plan(0.3, faults=["truncated"])
    S3Files(prefix := s3.prefix(), s3.options()).write("x", content := bytes(10_000))
    with faulty_proxy(s3.endpoint, plan) as url:
        files = S3Files(prefix, s3.options(endpoint=url, max_attempts=20))
        assert all(files.read("x") == content for _ in range(10))
    assert plan.done["truncated"] > 0


@pytest.mark.usefixtures("brief_pauses")
def test_a_store_that_answers_nothing_but_errors_is_unavailable_and_not_bad_input(s3: S3):
    with faulty_proxy(s3.endpoint, Plan(1.0, faults=["slow down 503"])) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=2))
        with pytest.raises(StoreUnavailable, match=r"cannot read s3://nas/.*/x: the store answers 503|SlowDown"):
            files.read("x")


@pytest.mark.parametrize("operation", ["read", "write", "list"])
def test_an_endpoint_where_nobody_listens_is_named_in_bounded_time(operation: str, s3: S3):
    with reserved_port() as port:
        endpoint = f"http://127.0.0.1:{port}"
        files = S3Files(s3.prefix(), s3.options(endpoint=endpoint, max_attempts=2, connect_seconds=1))
        began = time.monotonic()
        with pytest.raises(
            StoreUnavailable, match=rf"cannot {operation} s3://nas/.*: the store does not answer: .*{endpoint}"
        ):
            files.write("x", b"") if operation == "write" else getattr(files, operation)("x")
    assert time.monotonic() - began < 60


def test_a_bucket_that_is_not_there_is_named_with_the_remedy(s3: S3):
    files = S3Files("s3://no-such-bucket/x", s3.options())
    with pytest.raises(OutputError, match=r"s3://no-such-bucket/x/y: NoSuchBucket: create the bucket"):
        files.write("y", b"")


def test_missing_credentials_are_named_with_the_remedy(s3: S3, tmp_path: Path):
    code = (
        "from spark_nas.storage.s3 import S3Files\nfrom spark_nas.object_store import StorageOptions\n"
        f"S3Files('s3://nas/x', StorageOptions(endpoint={s3.endpoint!r}, region='us-east-1')).read('y')"
    )
    environment: Mapping[str, str] = {
        "PATH": "",
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYTHONPATH": ":".join(sys.path),
    }
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, env=environment)
    assert (
        "OutputError: cannot read s3://nas/x/y: no AWS credentials found: set them, or storage.anonymous" in done.stderr
    )


def test_everything_is_encrypted_with_the_key_that_was_asked_for(s3: S3):
    files = S3Files(prefix := s3.prefix(), s3.options(kms_key="alias/nas", multipart_megabytes=5))
    files.write_new("small", b"1")
    files.write("large", bytes(6 << 20))
    for name in ("small", "large"):
        key = f"{prefix}/{name}".removeprefix(f"s3://{s3.bucket}/")
        head = s3.options().boto3_client().head_object(Bucket=s3.bucket, Key=key)
        assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/nas")


@pytest.mark.parametrize("uri", ["s3://", "s3:///x", "s3://b/a?b", "s3://b/../c"])
def test_a_uri_without_a_bucket_or_with_a_query_is_refused(uri: str):
    with pytest.raises(OutputError, match="s3://"):
        open_files(uri)


def test_a_scheme_that_nobody_knows_is_refused_with_those_there_are():
    with pytest.raises(OutputError, match=r"'ftp://x': there is no store 'ftp': .* s3://, s3a://, gs://, abfss://"):
        open_files("ftp://x")


@pytest.mark.parametrize("location", ["gs://bucket/x", "abfss://container@account.dfs.core.windows.net/x"])
def test_no_run_can_be_made_where_there_is_no_conditional_write(location: str):
    with pytest.raises(OutputError, match="no run can be made here: pyarrow offers no conditional write"):
        require_conditional_writes(open_files(location))


def test_a_store_that_overwrites_in_spite_of_the_condition_is_found_out(tmp_path: Path):
    class Careless(LocalFiles):
        def write_new(self, name: str, content: bytes) -> bool:
            self.write(name, content)
            return True

    with pytest.raises(OutputError, match="ignores the condition of a conditional write"):
        require_conditional_writes(Careless(tmp_path))


def test_options_come_from_the_environment_where_they_are_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://everything")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://s3")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    assert StorageOptions().resolved() == StorageOptions(endpoint="http://s3", region="eu-west-1")
    given = StorageOptions(endpoint="https://mine", region="us-east-2")
    assert given.resolved() == given


@pytest.mark.parametrize(
    "wrong",
    [
        {"endpoint": "minio:9000"},
        {"max_attempts": 0},
        {"multipart_megabytes": 4},
        {"connect_seconds": 0.0},
        {"read_seconds": -1.0},
        {"anonymous": True, "kms_key": "k"},
    ],
)
def test_options_that_cannot_be_are_refused(wrong: dict[str, Any]):
    with pytest.raises(OptionError, match=next(iter(wrong))):
        StorageOptions(**wrong)


def test_jobs_commit_once_and_rows_come_back(s3: S3):
    files = S3Files(s3.prefix(), s3.options())
    jobs = CommittedJobs(files)
    assert jobs.commit(RESULT, b"weights") == RESULT
    late = Result(RESULT.job, "completed", 0.7)
    assert jobs.commit(late, b"others") == RESULT
    assert jobs.checkpoint(RESULT.job.key) == b"weights"
    ParquetLog(files, "run").append([RESULT], 1)
    ((row, asked),) = ParquetLog(files, "run").rows()
    assert (RESULT.job, RESULT.loss, 1) == (row.job, row.loss, asked)
