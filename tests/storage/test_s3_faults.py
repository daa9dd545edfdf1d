"""S3Files behind a network and a store that fail: nothing is written twice, lost or cut, and nobody gives up early."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from spark_nas.storage.s3 import S3Files
from tests.faulty_proxy import FAULTS, Plan, faulty_proxy
from tests.s3_endpoint import S3

pytestmark = pytest.mark.usefixtures("brief_pauses")


def test_every_fault_is_survived(s3: S3):
    plan = Plan(0.3, delay=0.01)
    with faulty_proxy(s3.endpoint, plan) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=12))
        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(lambda n: files.write_new(f"x{n}", bytes([n]) * 100), range(16)))
            assert not any(pool.map(lambda n: files.write_new(f"x{n}", b"other"), range(16)))
            assert [bytes([n]) * 100 for n in range(16)] == list(pool.map(lambda n: files.read(f"x{n}"), range(16)))
        assert len(files.list("")) == 16
    assert sum(plan.done.values()) > 10
    assert set(plan.done) <= set(FAULTS)


@pytest.mark.slow
def test_a_client_that_has_failed_often_still_tries_again(s3: S3):
    """What botocore would not: its quota is empty after 35 repetitions that no 2xx has rewarded."""
    plan = Plan(0.5, seed=4, faults=["answer lost"])
    with faulty_proxy(s3.endpoint, plan) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=20))
        assert [files.read("nothing") for _ in range(50)] == [None] * 50
    assert plan.done["answer lost"] > 35


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["answer lost", "conflict 409", "error 500"])
def test_a_large_object_is_created_once_however_its_upload_is_disturbed(s3: S3, fault: str):
    plan = Plan(0.5, seed=2, faults=[fault])
    client = s3.options().boto3_client()
    content = bytes(range(256)) * (5 << 12) + b"end"
    with faulty_proxy(s3.endpoint, plan) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=20, multipart_megabytes=5))
        assert files.write_new("large", content) is True
        assert files.write_new("large", b"other" * (2 << 20)) is False
        assert files.read("large") == content
        files.write("large", content[::-1])
        assert files.read("large") == content[::-1]
    assert plan.done[fault] > 0
    # An upload whose beginning was lost on the way is nobody's: a lifecycle rule of the bucket removes it.
    left = client.list_multipart_uploads(Bucket=s3.bucket, Prefix=files.root.removeprefix(f"s3://{s3.bucket}/"))
    assert fault == "answer lost" or left.get("Uploads", []) == []


@pytest.mark.slow
def test_of_many_creators_behind_a_failing_network_one_wins_and_knows_it(s3: S3):
    with faulty_proxy(s3.endpoint, Plan(0.3, seed=5, faults=["answer lost", "conflict 409", "reset"])) as url:
        files = S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=20))
        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(lambda n: files.write_new("one", str(n).encode()), range(8)))
        assert won.count(True) == 1
        assert files.read("one") == str(won.index(True)).encode()
