"""How object stores are reached: one set of options, from which every client of boto3 and pyarrow is made.

The options travel to the executors; credentials never do: each process finds its own by the standard chain of its SDK
(environment, profile, instance or container role).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from spark_nas.errors import OptionError

_MEGABYTE = 1 << 20
SCHEMES = ("s3", "s3a", "gs", "abfss")
"""What a location may begin with; `s3a` is another word for `s3`."""


@dataclass(frozen=True)
class StorageOptions:
    """How to reach an object store. What is left out comes from the driver's environment, or is the SDK's own."""

    region: str | None = None
    """Of the bucket; else AWS_REGION or AWS_DEFAULT_REGION."""
    endpoint: str | None = None
    """URL of a store that speaks S3 but is not AWS; else AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL."""
    path_style: bool | None = None
    """Whether the bucket stands in the path instead of the host name; None: where there is an endpoint."""
    kms_key: str | None = None
    """Everything written is encrypted with this KMS key (its id or ARN)."""
    anonymous: bool = False
    """Whether requests go unsigned: for reading public buckets."""
    max_attempts: int = 8
    """How often a request is tried, with growing pauses, before the store counts as unavailable."""
    multipart_megabytes: int = 64
    """Larger objects are uploaded in parts of so many MiB (5 at least, says S3)."""
    connect_seconds: float = 10.0
    """How long to wait for a connection."""
    read_seconds: float = 60.0
    """How long to wait for the next byte of an answer."""

    def __post_init__(self) -> None:
        if self.endpoint is not None and urlsplit(self.endpoint).scheme not in ("http", "https"):
            raise OptionError("endpoint", self.endpoint, "give a URL that begins with http:// or https://")
        if self.endpoint is not None and "@" in self.endpoint:  # whatever it is, it must not be repeated here
            raise OptionError("endpoint", "...@...", "leave credentials out of it: they come by the AWS chain")
        if self.max_attempts < 1:
            raise OptionError("max_attempts", self.max_attempts, "give at least 1")
        if self.multipart_megabytes < 5:
            raise OptionError("multipart_megabytes", self.multipart_megabytes, "give at least 5")
        for key in ("connect_seconds", "read_seconds"):
            if not getattr(self, key) > 0:
                raise OptionError(key, getattr(self, key), "give seconds greater than 0")
        if self.anonymous and self.kms_key is not None:
            raise OptionError("anonymous", self.anonymous, "unsigned requests cannot use a kms_key: leave one out")

    def resolved(self) -> StorageOptions:
        """With what the environment of this process adds; call it on the driver, and send the result."""
        environ = os.environ
        return replace(
            self,
            region=self.region or environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION"),
            endpoint=self.endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL"),
        )

    def boto3_client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """The S3 client of this process (thread-safe); a forked child makes its own."""
        return _client(os.getpid(), self.resolved())

    def put_options(self) -> dict[str, str]:
        """What every write says beside its content."""
        return {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self.kms_key} if self.kms_key else {}

    def transfer_config(self) -> Any:  # noqa: ANN401
        """Sizes and threads of boto3's managed transfers."""
        from boto3.s3.transfer import TransferConfig  # type: ignore[import-untyped]

        size = self.multipart_megabytes * _MEGABYTE
        return TransferConfig(multipart_threshold=size, multipart_chunksize=size)

    def arrow_filesystem(self, uri: str) -> tuple[Any, str]:
        """A pyarrow filesystem of this process, and the path of `uri` in it. Raises OptionError for other schemes."""
        scheme, _, path = uri.partition("://")
        try:
            if scheme in ("s3", "s3a"):
                return _arrow_s3(os.getpid(), self.resolved()), path
            if scheme == "gs":
                return _arrow_gs(os.getpid(), self), path
            if scheme == "abfss":
                from pyarrow.fs import AzureFileSystem  # type: ignore[import-untyped]

                filesystem, path = AzureFileSystem.from_uri(uri)
                return filesystem, path
        except ImportError as error:
            raise OptionError("location", uri, f"this pyarrow is built without {scheme}://: use another") from error
        raise OptionError("location", uri, f"give a local path, or a URI of {', '.join(s + '://' for s in SCHEMES)}")


@lru_cache(maxsize=8)
def _client(_process: int, options: StorageOptions) -> Any:  # noqa: ANN401
    import boto3  # type: ignore[import-untyped]
    from botocore import UNSIGNED  # type: ignore[import-untyped]
    from botocore.config import Config  # type: ignore[import-untyped]

    path_style = options.endpoint is not None if options.path_style is None else options.path_style
    config = Config(
        retries={"mode": "adaptive", "total_max_attempts": options.max_attempts},
        connect_timeout=options.connect_seconds,
        read_timeout=options.read_seconds,
        max_pool_connections=32,
        s3={"addressing_style": "path" if path_style else "auto"},
        **({"signature_version": UNSIGNED} if options.anonymous else {}),
    )
    return boto3.session.Session().client(
        "s3", region_name=options.region, endpoint_url=options.endpoint, config=config
    )


@lru_cache(maxsize=8)
def _arrow_s3(_process: int, options: StorageOptions) -> Any:  # noqa: ANN401
    from pyarrow import fs  # type: ignore[import-untyped]

    where: dict[str, Any] = {}
    if options.endpoint is not None:
        split = urlsplit(options.endpoint)
        where = {"scheme": split.scheme, "endpoint_override": split.netloc}
        if options.path_style is False:
            where["force_virtual_addressing"] = _virtual_addressing()
    if options.region is not None:
        where["region"] = options.region
    elif options.endpoint is not None:
        where["region"] = "us-east-1"  # else pyarrow asks AWS where the bucket is
    return fs.S3FileSystem(
        anonymous=options.anonymous,
        connect_timeout=options.connect_seconds,
        request_timeout=options.read_seconds,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=options.max_attempts),
        **where,
    )


def _virtual_addressing() -> bool:
    """True. Raises OptionError where this pyarrow has no word for it: requests would go to another address."""
    import pyarrow as pa

    if tuple(int(number) for number in pa.__version__.split(".")[:2]) < (16, 1):
        remedy = (
            f"pyarrow {pa.__version__} puts the bucket into the path: install 16.1 or newer, or leave path_style out"
        )
        raise OptionError("path_style", False, remedy)
    return True


@lru_cache(maxsize=8)
def _arrow_gs(_process: int, options: StorageOptions) -> Any:  # noqa: ANN401
    from pyarrow.fs import GcsFileSystem

    # By itself it would repeat a request for a quarter of an hour.
    limit = timedelta(seconds=options.connect_seconds + options.read_seconds)
    return GcsFileSystem(anonymous=options.anonymous, retry_time_limit=limit)
