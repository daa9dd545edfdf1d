"""The folder of a data set, on a disk or on an object store: the few operations that preparing and reading need.

Reading goes through a pyarrow filesystem rooted in the folder, which petastorm takes too. Writing hands over whole
files: they are made on a local disk first, because a stream into an object store that breaks off can publish a half. A
folder is picklable and holds no connection and no credentials: each process opens the store for itself.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.fs  # type: ignore[import-untyped]

from spark_nas.errors import OptionError
from spark_nas.object_store import StorageOptions

_URI = re.compile(r"(s3|s3a|gs|abfss)://([^/?#]+)((?:/[^?#]*)?)")
_AT_ONCE = 16
"""Requests in flight when the sizes of many objects are asked for."""


class DataFolder(Protocol):
    """A folder; names are relative and use `/`. All methods may raise OSError."""

    @property
    def location(self) -> str:
        """Absolute path or URI, without a `/` at its end."""
        ...

    def filesystem(self) -> pyarrow.fs.FileSystem:
        """A filesystem whose root is this folder."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None when there is none."""
        ...

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None for one that is not there."""
        ...

    def creating(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write to; on leaving, that content is the file `name`, whole; after an error nothing is."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        ...

    def remove_all(self, name: str) -> None:
        """Remove a sub-folder with all that is in it; no error when it is not there."""
        ...


def open_folder(location: str | Path | DataFolder, storage: StorageOptions | None = None) -> DataFolder:
    """The folder at a local path, or at an s3://, s3a://, gs:// or abfss:// URI; a folder is itself.

    Raises OptionError for a URI that no store answers to.
    """
    if not isinstance(location, str | Path):
        return location
    if "://" in str(location):
        return RemoteFolder(check_uri(str(location)), (storage or StorageOptions()).resolved())
    return LocalFolder(str(Path(location).absolute()))


def check_uri(uri: str) -> str:
    """The URI of a folder on an object store in its one form. Raises OptionError for one that no store answers to."""
    found = _URI.fullmatch(uri)
    if found is None:
        raise OptionError("path", uri, "give a local path, or s3://, s3a://, gs:// or abfss:// with a bucket")
    scheme, bucket, key = found.groups()
    parts = [part for part in key.split("/") if part]
    if {".", ".."} & set(parts):
        raise OptionError("path", uri, "leave . and .. out of it")
    return "/".join([f"{'s3' if scheme == 's3a' else scheme}://{bucket}", *parts])


def files_below(folder: DataFolder, name: str = "", *, recursive: bool = True) -> list[pyarrow.fs.FileInfo]:
    """What lies below a sub-folder; nothing when there is no such sub-folder."""
    selector = pyarrow.fs.FileSelector(name, recursive=recursive, allow_not_found=True)
    return list(folder.filesystem().get_file_info(selector))


def reason(error: Exception) -> str:
    """Why an operation failed, in a few words of one line."""
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return (str(error).splitlines() or [type(error).__name__])[0]


@dataclass(frozen=True)
class LocalFolder:
    """A folder on a local or mounted disk."""

    location: str

    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The disk, seen from this folder."""
        return pyarrow.fs.SubTreeFileSystem(self.location, pyarrow.fs.LocalFileSystem())

    def read(self, name: str) -> bytes | None:
        """The content of a file, or None when there is none."""
        try:
            return Path(self.location, name).read_bytes()
        except FileNotFoundError:
            return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each file, None for one that is not there."""
        return _sizes(self.filesystem(), names)

    @contextmanager
    def creating(self, name: str) -> Iterator[Path]:
        """A temporary file beside the target, renamed on leaving."""
        target = Path(self.location, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.stem}.{uuid.uuid4().hex}.tmp")
        try:
            yield temporary
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        Path(self.location, name).unlink(missing_ok=True)

    def remove_all(self, name: str) -> None:
        """Remove a sub-folder with all that is in it; no error when it is not there."""
        with suppress(FileNotFoundError):
            shutil.rmtree(Path(self.location, name))


@dataclass(frozen=True)
class RemoteFolder:
    """A prefix of a bucket."""

    location: str
    storage: StorageOptions

    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The store, seen from this prefix; one for the life of the process."""
        return _opened(os.getpid(), self.location, self.storage)  # a forked child must not use its parent's

    def read(self, name: str) -> bytes | None:
        """The content of an object, or None when there is none."""
        try:
            with self.filesystem().open_input_file(name) as handle:
                return bytes(handle.read())
        except FileNotFoundError:
            return None

    def sizes(self, names: Sequence[str]) -> list[int | None]:
        """Bytes of each object, None for one that is not there; one request each, some at the same time."""
        filesystem = self.filesystem()
        with ThreadPoolExecutor(min(_AT_ONCE, max(1, len(names)))) as pool:
            return [size for sizes in pool.map(lambda name: _sizes(filesystem, [name]), names) for size in sizes]

    @contextmanager
    def creating(self, name: str) -> Iterator[Path]:
        """A file in the temporary folder of this machine, uploaded on leaving: other readers see all of it or none."""
        with tempfile.TemporaryDirectory(prefix="spark_nas-") as scratch:
            path = Path(scratch, Path(name).name)
            yield path
            self._upload(path, name)

    def remove(self, name: str) -> None:
        """Remove an object; no error when it is not there."""
        bucket, key = self._place(name)
        if self._is_s3:
            with _client_errors():
                self.storage.boto3_client().delete_object(Bucket=bucket, Key=key)
        elif self.sizes([name]) != [None]:
            self.filesystem().delete_file(name)

    def remove_all(self, name: str) -> None:
        """Remove all objects below a prefix."""
        for entry in files_below(self, name):
            if entry.is_file:
                self.remove(entry.path)

    @property
    def _is_s3(self) -> bool:
        return self.location.startswith("s3://")

    def _place(self, name: str) -> tuple[str, str]:
        bucket, _, key = f"{self.location}/{name}".partition("://")[2].partition("/")
        return bucket, key

    def _upload(self, path: Path, name: str) -> None:
        if self._is_s3:  # by boto3: its uploads can be encrypted with a KMS key, those of pyarrow cannot
            bucket, key = self._place(name)
            with _client_errors():
                self.storage.boto3_client().upload_file(
                    str(path), bucket, key, ExtraArgs=self.storage.put_options(), Config=self.storage.transfer_config()
                )
            return
        sink = self.filesystem().open_output_stream(name)
        with pa.memory_map(str(path)) as content:
            sink.write(content.read_buffer())
        sink.close()  # not on an error: closing is what publishes


@contextmanager
def _client_errors() -> Iterator[None]:
    """An error of boto3 becomes an OSError in one line, as those of pyarrow are."""
    from boto3.exceptions import Boto3Error  # type: ignore[import-untyped]
    from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise OSError(reason(error)) from error


@lru_cache(maxsize=16)
def _opened(_process: int, location: str, storage: StorageOptions) -> pyarrow.fs.FileSystem:
    filesystem, path = storage.arrow_filesystem(location)
    return pyarrow.fs.SubTreeFileSystem(path, filesystem)


def _sizes(filesystem: pyarrow.fs.FileSystem, names: Sequence[str]) -> list[int | None]:
    return [info.size if info.is_file else None for info in filesystem.get_file_info(list(names))]
