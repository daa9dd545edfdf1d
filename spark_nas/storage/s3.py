"""`Files` on S3 and on stores that speak it, by boto3.

A write is one object, so a reader sees the old or the new content, never a part. `write_new` is a conditional write
(`If-None-Match: *`). Its answer can be lost on the way although the object was made, and the repetition then meets its
own object; so each write carries a token in its metadata, by which it knows its own.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from spark_nas.errors import OutputError, StoreUnavailable
from spark_nas.object_store import StorageOptions
from spark_nas.storage.files import checked
from spark_nas.storage.s3_calls import code_of, connect, patiently, pause, told

_TOKEN = "spark-nas-write"
_CONFLICTS = 16
"""How often a write that met another one in progress (409) is tried again."""
_HASTY_SECONDS = 3.0
_REFUSED = {"PreconditionFailed", "412"}
_CONFLICTING = {"ConditionalRequestConflict", "OperationAborted", "409", "NoSuchUpload"}
"""`NoSuchUpload`: the upload was completed, but the answer was lost, or somebody has aborted it."""
_MISSING = {"NoSuchKey", "404"}


class S3Files:
    """`Files` below `s3://bucket/prefix`. Picklable and thread-safe; each process makes its own client."""

    def __init__(self, uri: str, options: StorageOptions | None = None) -> None:
        """`uri` begins with `s3://` or `s3a://`. What `options` leave out is taken from the environment now."""
        scheme, _, path = uri.partition("://")
        self._bucket, _, prefix = path.partition("/")
        if scheme not in ("s3", "s3a") or not self._bucket or set("?#") & set(path):
            raise OutputError(f"{uri!r}: give s3://BUCKET/PREFIX")
        self._prefix = _joined(checked(prefix.strip("/"), uri))
        self._options = (options or StorageOptions()).resolved()
        # Requests are repeated here (s3_calls says why), and by botocore not once more.
        self._once = replace(self._options, max_attempts=1)

    @property
    def root(self) -> str:
        """`s3://bucket/prefix`."""
        return f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def reach(self) -> None:
        """Raise StoreUnavailable in about ten seconds where there is no connecting; any answer will do."""
        hasty = replace(self._once, connect_seconds=min(_HASTY_SECONDS, self._options.connect_seconds))
        with told(f"reach {self.root}"):
            connect(lambda: hasty.boto3_client().head_bucket(Bucket=self._bucket))

    def read(self, name: str) -> bytes | None:
        """The content, or None when there is no such object. Raises OutputError or StoreUnavailable."""
        from botocore.exceptions import ClientError  # type: ignore[import-untyped]

        key = self._key(name)

        def get() -> bytes:
            content: bytes = self._client.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            return content

        with told(f"read {self.root}/{name}"):
            try:
                return patiently(get, self._options.max_attempts)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                raise

    def write(self, name: str, content: bytes) -> None:
        """Create or replace, atomically."""
        self._store(name, content, {})

    def write_new(self, name: str, content: bytes) -> bool:
        """Create, atomically; False when the object is there already."""
        return self._store(name, content, {"IfNoneMatch": "*"})

    def _pages(self, folder: str) -> Iterator[dict[str, Any]]:
        """What is directly in a folder; each page is asked for by itself, so that its failure costs no other."""
        request = {"Prefix": self._folder(folder), "Delimiter": "/"}
        with told(f"list {self.root}/{folder}"):
            while True:
                page = self._ask("list_objects_v2", **request)
                yield page
                if not page.get("IsTruncated"):
                    return
                request["ContinuationToken"] = page["NextContinuationToken"]

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are left out."""
        start = self._folder(folder)
        prefixes = (entry["Prefix"] for page in self._pages(folder) for entry in page.get("CommonPrefixes", ()))
        return sorted(name for prefix in prefixes if not (name := prefix[len(start) : -1]).startswith("."))

    def list(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder, sorted; hidden ones are left out."""
        start = self._folder(folder)
        keys = (entry["Key"] for page in self._pages(folder) for entry in page.get("Contents", ()))
        return sorted(name for key in keys if (name := key[len(start) :]) and not name.startswith("."))

    def delete(self, name: str) -> None:
        """Remove an object; no error when it is not there."""
        with told(f"delete {self.root}/{name}"):
            self._ask("delete_object", Key=self._key(name))

    def below(self, folder: str) -> S3Files:
        """The same bucket, rooted in a folder."""
        return S3Files(f"s3://{self._bucket}/{self._key(folder)}", self._options)

    def written_at(self, name: str) -> datetime | None:
        """When an object was written, by the store's clock, to the second; None when there is none."""
        with told(f"look at {self.root}/{name}"):
            head = self._head(self._key(name))
        return None if head is None else head["LastModified"]

    @property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        return self._once.boto3_client()

    def _key(self, name: str) -> str:
        return _joined(self._prefix, checked(name, self.root))

    def _folder(self, folder: str) -> str:
        key = self._key(folder)
        return f"{key}/" if key else ""

    def _ask(self, operation: str, **request: Any) -> Any:  # noqa: ANN401
        """One request of the bucket, made as often as the options allow."""
        return patiently(
            lambda: getattr(self._client, operation)(Bucket=self._bucket, **request), self._options.max_attempts
        )

    def _store(self, name: str, content: bytes, condition: dict[str, str]) -> bool:
        """Write under a condition; False when it does not hold."""
        from botocore.exceptions import ClientError

        key, token = self._key(name), uuid.uuid4().hex
        large = len(content) > self._options.multipart_megabytes << 20
        put: Callable[..., None] = self._put_in_parts if large else self._put
        with told(f"write {self.root}/{name}"):
            for made in range(1, _CONFLICTS + 1):
                try:
                    put(key, content, token, condition)
                    return True
                except ClientError as error:
                    code = code_of(error)
                    if code not in _REFUSED | _CONFLICTING:
                        raise
                    owner = self._owner(key)
                    if owner == token:  # it was made, and only the answer was lost
                        return True
                    if code in _REFUSED and owner is not None:
                        return False
                time.sleep(pause(made) * random.random())
        raise StoreUnavailable(f"cannot write {self.root}/{name}: too many conflicting writes")

    def _put(self, key: str, content: bytes, token: str, condition: dict[str, str]) -> None:
        # By the checksum the store refuses a body that changed on its way.
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        self._ask("put_object", Key=key, Body=content, ChecksumSHA256=digest, **self._marks(token), **condition)

    def _put_in_parts(self, key: str, content: bytes, token: str, condition: dict[str, str]) -> None:
        """An upload in parts, which becomes visible when it is completed, under the same condition as a small one."""
        size = self._options.multipart_megabytes << 20
        upload = self._ask("create_multipart_upload", Key=key, **self._marks(token))["UploadId"]
        where = {"Key": key, "UploadId": upload}
        try:
            parts = []
            for number, start in enumerate(range(0, len(content), size), start=1):
                answer = self._ask("upload_part", **where, PartNumber=number, Body=content[start : start + size])
                parts.append({"PartNumber": number, "ETag": answer["ETag"]})
            self._ask("complete_multipart_upload", **where, MultipartUpload={"Parts": parts}, **condition)
        except BaseException:
            self._abort(where)
            raise

    def _abort(self, where: dict[str, str]) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        # It was completed, or the store is away: then a lifecycle rule of the bucket removes it.
        with suppress(BotoCoreError, ClientError):
            self._ask("abort_multipart_upload", **where)

    def _marks(self, token: str) -> dict[str, Any]:
        return {"Metadata": {_TOKEN: token}, **self._options.put_options()}

    def _owner(self, key: str) -> str | None:
        """The token of the write that made an object; empty for a stranger's, None when the object is gone."""
        head = self._head(key)
        return None if head is None else str(head["Metadata"].get(_TOKEN, ""))

    def _head(self, key: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            head: dict[str, Any] = self._ask("head_object", Key=key)
            return head
        except ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise


def _joined(*names: str) -> str:
    """Names as one key: no empty part, no `.`."""
    return "/".join(part for name in names for part in name.split("/") if part not in ("", "."))
