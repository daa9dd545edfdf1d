"""Requests to S3: what is repeated, how often, after which pauses, and what is said in the end."""

from __future__ import annotations

import pytest
from botocore import exceptions
from botocore.exceptions import ClientError, ConnectTimeoutError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.errors import OutputError, StoreUnavailable
from spark_nas.storage.s3_calls import connect, patiently, pause, told, transient


def answer(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


PASSING = [
    answer("SlowDown", 503),
    answer("InternalError", 500),
    answer("?", 429),
    answer("502", 502),
    answer("RequestTimeout", 400),
    answer("BadDigest", 400),
    exceptions.ConnectionClosedError(endpoint_url="http://x"),
    exceptions.EndpointConnectionError(endpoint_url="http://x"),
    exceptions.ConnectTimeoutError(endpoint_url="http://x"),
    exceptions.ReadTimeoutError(endpoint_url="http://x"),
    exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2),
    exceptions.ResponseStreamingError(error="cut"),
    exceptions.FlexibleChecksumError(error_msg="differs"),
    ConnectionResetError(),
]
LASTING = [
    (answer("NoSuchBucket", 404), "NoSuchBucket: create the bucket"),
    (answer("AccessDenied", 403), "AccessDenied: let this role read, write and list there"),
    (answer("InvalidAccessKeyId", 403), "InvalidAccessKeyId: check the AWS credentials"),
    (answer("RequestTimeTooSkewed", 403), "RequestTimeTooSkewed: set the clock"),
    (answer("NotImplemented", 501), "NotImplemented: this store cannot do that"),
    (exceptions.NoCredentialsError(), "no AWS credentials found"),
    (exceptions.PartialCredentialsError(provider="env", cred_var="AWS_SECRET_ACCESS_KEY"), "AWS_SECRET_ACCESS_KEY"),
    (exceptions.ProfileNotFound(profile="nobody"), "nobody"),
    (exceptions.SSLError(endpoint_url="https://x", error="self-signed"), "set AWS_CA_BUNDLE"),
    (exceptions.ParamValidationError(report="Unknown parameter\nIfNoneMatch"), "boto3 is too old"),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_repeated_and_at_last_the_store_is_unavailable(error: Exception):
    made = []

    def call() -> None:
        made.append(1)
        raise error

    with pytest.raises(StoreUnavailable, match=r"^cannot write s3://b/x: the store"), told("write s3://b/x"):
        patiently(call, 5, sleep=lambda _: None)
    assert len(made) == 5


@pytest.mark.parametrize(("error", "said"), LASTING, ids=lambda value: str(value)[:20])
def test_what_lasts_is_asked_once_and_said_in_one_line_with_the_remedy(error: Exception, said: str):
    made = []

    def call() -> None:
        made.append(1)
        raise error

    with pytest.raises(OutputError) as caught, told("write s3://b/x"):
        patiently(call, 5, sleep=lambda _: None)
    assert str(caught.value).startswith("cannot write s3://b/x: ")
    assert said in str(caught.value)
    assert (1, 1) == (len(made), len(str(caught.value).splitlines()))


def test_an_error_of_our_own_is_not_taken_for_the_stores():
    with pytest.raises(ZeroDivisionError), told("write"):
        raise ZeroDivisionError
    assert not transient(ZeroDivisionError())


@given(attempts=st.integers(1, 30), failures=st.integers(0, 40))
def test_it_is_repeated_until_it_succeeds_and_no_more_often_than_allowed(attempts: int, failures: int):
    left, waited = [ConnectionResetError()] * failures, list[float]()

    def call() -> str:
        if left:
            raise left.pop()
        return "there"

    if failures < attempts:
        assert patiently(call, attempts, sleep=waited.append, share=lambda: 0.5) == "there"
    else:
        with pytest.raises(ConnectionResetError):
            patiently(call, attempts, sleep=waited.append, share=lambda: 0.5)
        assert len(left) == failures - attempts
    assert waited == [pause(made) / 2 for made in range(1, len(waited) + 1)]
    assert waited == sorted(waited)
    assert max(waited, default=0) <= 5.0
    assert len(waited) == min(failures, attempts - 1)


def test_connecting_is_tried_for_some_seconds_and_then_told():
    now, tries = [0.0], list[float]()

    def call() -> None:
        tries.append(now[0])
        now[0] += 3.0
        raise ConnectTimeoutError(endpoint_url="http://nowhere")

    def sleep(seconds: float) -> None:
        now[0] += seconds

    with pytest.raises(ConnectTimeoutError):
        connect(call, sleep=sleep, clock=lambda: now[0])
    assert (tries, now) == ([0.0, 4.0], [7.0])


@pytest.mark.parametrize(
    "answer", [None, ConnectionResetError(), ClientError({"Error": {"Code": "403"}}, "HeadBucket")]
)
def test_any_answer_is_a_connection(answer: Exception | None):
    tries = []

    def call() -> None:
        tries.append(1)
        if answer is not None:
            raise answer

    connect(call)
    assert tries == [1]


def test_a_store_that_is_slow_to_be_connected_to_is_waited_for():
    failures: list[Exception] = [EndpointConnectionError(endpoint_url="http://x")] * 2
    waited = list[float]()

    def call() -> None:
        if failures:
            raise failures.pop()

    connect(call, sleep=waited.append, clock=lambda: 0.0)
    assert (failures, len(waited)) == ([], 2)
