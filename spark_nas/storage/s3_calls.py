"""Requests to S3: which failures are worth another attempt, how long to wait before it, and what to say in the end.

botocore could repeat requests itself, but it draws all repetitions of a client from one quota (500 tokens, 14 each),
which a 404 or 412 after a repetition never fills again: after 35 of them a client that polls for files gives up at the
first failure. Nor does it repeat an answer whose body broke off. So attempts are counted here, for each request alone.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from spark_nas.errors import OutputError, SparkNasError, StoreUnavailable

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 10.0
_CONNECTING_SECONDS, _CONNECTING_PAUSE = 8.0, 1.0
_CREDENTIALS = "check the AWS credentials of this process"
_REGION = "set storage.region (or AWS_REGION) to the bucket's region"
_ACCESS = "let this role read, write and list there"
_REMEDIES = {
    "NoSuchBucket": "create the bucket, or correct its name",
    "AccessDenied": _ACCESS,
    "403": _ACCESS,
    "InvalidAccessKeyId": _CREDENTIALS,
    "SignatureDoesNotMatch": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "ExpiredToken": "renew the AWS credentials of this process",
    "RequestTimeTooSkewed": "set the clock of this machine",
    "PermanentRedirect": _REGION,
    "AuthorizationHeaderMalformed": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": "this store cannot do that (a conditional write, perhaps): use a newer version, or another store",
}
_TRANSIENT = {
    "InternalError",
    "SlowDown",
    "ServiceUnavailable",
    "RequestTimeout",
    "Throttling",
    "ThrottlingException",
    # A body that changed or broke off on its way:
    "BadDigest",
    "IncompleteBody",
    "XAmzContentChecksumMismatch",
}

R = TypeVar("R")


def patiently(
    call: Callable[[], R],
    attempts: int,
    *,
    sleep: Callable[[float], None] = time.sleep,
    share: Callable[[], float] = random.random,
) -> R:
    """Make one request, at most `attempts` times while its failures are transient; raises what botocore raises.

    `share`, in [0, 1), says how much of the longest pause is waited: clients that failed together do not come back
    together.
    """
    for made in range(1, attempts):
        try:
            return call()
        except Exception as error:
            if not transient(error):
                raise
            sleep(pause(made) * share())
    return call()


def connect(
    call: Callable[[], object],
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Make a request until it is answered, by whatever; raises what botocore does where none is in some seconds."""
    from botocore.exceptions import (  # type: ignore[import-untyped]
        ConnectTimeoutError,
        EndpointConnectionError,
        ProxyConnectionError,
    )

    until = clock() + _CONNECTING_SECONDS
    while True:
        try:
            call()
        except (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError):
            if clock() + _CONNECTING_PAUSE >= until:
                raise
        except Exception:  # it was reached; what is wrong with it the next request will tell, with its own patience
            return
        else:
            return
        sleep(_CONNECTING_PAUSE)


def pause(made: int) -> float:
    """The longest pause in seconds after so many attempts.

    >>> [round(pause(made), 1) for made in (1, 2, 3, 7, 8, 1000)]
    [0.1, 0.2, 0.4, 6.4, 10.0, 10.0]
    """
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(made - 1, 20)))


def transient(error: Exception) -> bool:
    """Whether the same request may succeed a little later."""
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        FlexibleChecksumError,
        HTTPClientError,
        IncompleteReadError,
        SSLError,
    )
    from botocore.exceptions import ConnectionError as BotoConnectionError
    from botocore.parsers import ResponseParserError  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    if isinstance(error, ClientError):
        status = _status(error)
        return code_of(error) in _TRANSIENT or status == 429 or (status >= 500 and status != 501)
    if isinstance(error, BotoCoreError):
        kinds = (HTTPClientError, BotoConnectionError, IncompleteReadError, FlexibleChecksumError)
        return isinstance(error, kinds) and not isinstance(error, SSLError)
    return isinstance(error, ResponseParserError | HTTPError | OSError)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what botocore raises into one line that says `cannot WHAT`, why, and the remedy.

    StoreUnavailable when the store failed, OutputError when the input or the rights are wrong.
    """
    try:
        yield
    except SparkNasError:
        raise
    except Exception as error:
        ours = _ours(what, error)
        if ours is None:
            raise
        raise ours from error


def _ours(what: str, error: Exception) -> SparkNasError | None:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        ParamValidationError,
        SSLError,
    )

    if isinstance(error, ClientError):
        code = code_of(error)
        if transient(error):
            return StoreUnavailable(f"cannot {what}: the store answers {code}; the same command continues")
        return OutputError(f"cannot {what}: {code}: {_REMEDIES.get(code, line_of(error))}")
    if transient(error):
        return StoreUnavailable(f"cannot {what}: the store does not answer: {line_of(error)}")
    if isinstance(error, NoCredentialsError):
        return OutputError(f"cannot {what}: no AWS credentials found: set them, or storage.anonymous")
    if isinstance(error, ParamValidationError):  # it is how an old botocore refuses a conditional write
        return OutputError(f"cannot {what}: boto3 is too old or the name is wrong: {line_of(error)}")
    if isinstance(error, SSLError):
        return OutputError(f"cannot {what}: {line_of(error)}: set AWS_CA_BUNDLE to the store's certificate")
    if isinstance(error, BotoCoreError | ValueError):  # no such profile, half a pair of credentials, no such endpoint
        return OutputError(f"cannot {what}: {line_of(error)}")
    return None


def code_of(error: Any) -> str:  # noqa: ANN401 - botocore has no types
    """The code of a ClientError: a word of S3, or the HTTP status where the answer has no body (HEAD)."""
    return str(error.response.get("Error", {}).get("Code", "?"))


def line_of(error: Exception) -> str:
    """The first line of a message."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _status(error: Any) -> int:  # noqa: ANN401
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
