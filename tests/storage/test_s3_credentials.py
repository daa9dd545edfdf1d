"""Credentials: found by the AWS chain in each process, never carried, and what is said where they do not do."""

from __future__ import annotations

import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest

from spark_nas.errors import OutputError
from spark_nas.storage.s3 import S3Files
from tests.s3_endpoint import S3, s3_endpoint


def client_of(files: S3Files) -> tuple[int, int, bytes | None]:
    """The process, its client's identity, and what it reads."""
    return os.getpid(), id(files._client), files.read("x")


@pytest.mark.slow
def test_keys_that_the_store_does_not_know_are_said_with_the_remedy(s3: S3):
    with s3_endpoint(authenticating=True) as strict:
        files = S3Files(strict.prefix(), strict.options())
        for operation in (lambda: files.write("x", b""), lambda: files.read("x"), lambda: files.list("")):
            with pytest.raises(OutputError, match="InvalidAccessKeyId: check the AWS credentials") as caught:
                operation()
            assert len(str(caught.value).splitlines()) == 1
            assert s3.environment["AWS_SECRET_ACCESS_KEY"] not in str(caught.value).replace(files.root, "")


def test_an_anonymous_reader_needs_no_keys(s3: S3, monkeypatch: pytest.MonkeyPatch):
    owner = S3Files(prefix := s3.prefix(), s3.options())
    owner.write("x", b"public")
    owner.write("y", b"private")
    key = f"{prefix}/x".removeprefix(f"s3://{s3.bucket}/")
    s3.options().boto3_client().put_object_acl(Bucket=s3.bucket, Key=key, ACL="public-read")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    reader = S3Files(prefix, s3.options(anonymous=True))
    assert reader.read("x") == b"public"
    with pytest.raises(OutputError, match="y: 403: let this role read"):
        reader.read("y")


def test_no_key_travels_with_the_files(s3: S3, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-that-must-stay")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-that-must-stay")
    files = S3Files(s3.prefix(), s3.options(max_attempts=3))
    files.write("x", b"1")  # with a client, which holds them
    assert b"must-stay" not in pickle.dumps(files)
    assert "must-stay" not in repr(vars(files))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_each_process_makes_a_client_of_its_own(s3: S3, method: str):
    files = S3Files(s3.prefix(), s3.options())
    files.write("x", b"1")
    here = client_of(files)
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        there = pool.submit(client_of, files).result(60)
    assert here[0] != there[0]
    assert there[2] == b"1"
    if method == "fork":  # the parent's would still be at its address
        assert here[1] != there[1]
