"""`Files` on Google Cloud Storage and Azure through pyarrow: whatever a run needs except writing it.

pyarrow has no conditional write on any store, and without one a job could be committed twice. So data and finished
runs can be read from there, but no run can be made there: `write_new` is refused, with this reason.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from pyarrow import fs  # type: ignore[import-untyped]

from spark_nas.errors import OutputError, StoreUnavailable
from spark_nas.object_store import StorageOptions
from spark_nas.storage.files import checked


class ArrowFiles:
    """`Files` below a `gs://` or `abfss://` URI. Picklable; each process opens the store for itself."""

    def __init__(self, uri: str, options: StorageOptions | None = None) -> None:
        self._uri, self._options = uri.rstrip("/"), options or StorageOptions()

    @property
    def root(self) -> str:
        """The URI."""
        return self._uri

    def read(self, name: str) -> bytes | None:
        """The content, or None when there is no such object."""
        filesystem, path = self._at(name)
        try:
            with filesystem.open_input_file(path) as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed("read", name, error) from error

    def write(self, name: str, content: bytes) -> None:
        """Create or replace: the object appears when it is whole."""
        filesystem, path = self._at(name)
        try:
            with filesystem.open_output_stream(path) as file:
                file.write(content)
        except OSError as error:
            raise self._failed("write", name, error) from error

    def write_new(self, name: str, content: bytes) -> bool:
        """Refused: raises OutputError."""
        raise OutputError(
            f"{self._uri}: no run can be made here: pyarrow offers no conditional write for this store, and without "
            "one a job could be committed twice; use s3:// or a mounted folder for the output"
        )

    def _entries(self, folder: str, kind: fs.FileType) -> list[str]:
        filesystem, path = self._at(folder)
        try:
            found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True))
        except OSError as error:
            raise self._failed("list", folder, error) from error
        return sorted(entry.base_name for entry in found if entry.type == kind and not entry.base_name.startswith("."))

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are left out."""
        return self._entries(folder, fs.FileType.Directory)

    def list(self, folder: str) -> list[str]:
        """Names of the objects directly in a folder, sorted; hidden ones are left out."""
        return self._entries(folder, fs.FileType.File)

    def delete(self, name: str) -> None:
        """Remove an object; no error when it is not there."""
        filesystem, path = self._at(name)
        try:
            filesystem.delete_file(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._failed("delete", name, error) from error

    def below(self, folder: str) -> ArrowFiles:
        """The same store, rooted in a folder."""
        return ArrowFiles(f"{self._uri}/{checked(folder, self._uri)}", self._options)

    def _at(self, name: str) -> tuple[Any, str]:
        try:
            filesystem, path = _opened(os.getpid(), self._uri, self._options)
        except (OSError, ValueError) as error:
            raise self._failed("open", "", error) from error
        return filesystem, f"{path}/{checked(name, self._uri)}".rstrip("/")

    def _failed(self, what: str, name: str, error: Exception) -> OutputError | StoreUnavailable:
        line = next(iter(str(error).splitlines()), type(error).__name__)
        kind = StoreUnavailable if isinstance(error, TimeoutError | ConnectionError) else OutputError
        return kind(f"cannot {what} {self._uri}/{name}: {line}")


@lru_cache(maxsize=8)
def _opened(_process: int, uri: str, options: StorageOptions) -> tuple[Any, str]:
    return options.arrow_filesystem(uri)
