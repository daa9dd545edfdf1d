"""The few file operations that a run needs, on a local (or mounted) disk.

Everything above this file - jobs, results, run records - is written in terms of them, so another store is
another class with the same methods (`s3.py`, `arrow_files.py`).
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from spark_nas.errors import OutputError


class Files(Protocol):
    """Whole-file operations below one root; names are relative and use `/`. Picklable."""

    @property
    def root(self) -> str:
        """Where it all lies, for messages and for readers such as pandas."""
        ...

    def read(self, name: str) -> bytes | None:
        """The content, or None when there is no such file."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Create or replace, atomically: a reader sees the old or the new content, never a part."""
        ...

    def write_new(self, name: str, content: bytes) -> bool:
        """Create, atomically; False, and nothing changed, when the file is there already."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder that hold files at some depth, sorted."""
        ...

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; empty when there is no such folder."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        ...

    def below(self, folder: str) -> Files:
        """The same store, rooted in a folder of it."""
        ...


def checked(name: str, root: str) -> str:
    """A relative name that stays below its root. Raises OutputError for any other."""
    parts = name.split("/")
    if name.startswith("/") or "\\" in name or ".." in parts or any(ord(letter) < 32 for letter in name):
        raise OutputError(f"{name!r} would leave {root}")
    return name


class LocalFiles:
    """`Files` on a local disk. Durable: content and folder entry are synced before a write returns."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).absolute()  # executors have other working directories

    @property
    def root(self) -> str:
        """Absolute path of the root folder."""
        return str(self._root)

    def read(self, name: str) -> bytes | None:
        """The content, or None when there is no such file. Raises OutputError when it cannot be read."""
        path = self._path(name)
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise OutputError(f"cannot read {path}: {error.strerror or error}") from error

    def write(self, name: str, content: bytes) -> None:
        """Create or replace, atomically."""
        path = self._path(name)
        with _Temporary(path, content) as temporary:
            os.replace(temporary, path)
            _sync_folder(path.parent)

    def write_ahead(self, name: str, content: bytes) -> None:
        """As `write`, but its name is durable only with that of the next file that is created in its folder.

        For a file that nobody looks for before that one is there. A journal keeps the order of names in a folder.
        """
        path = self._path(name)
        with _Temporary(path, content) as temporary:
            os.replace(temporary, path)

    def write_new(self, name: str, content: bytes) -> bool:
        """Create, atomically; False when the file is there already."""
        path = self._path(name)
        with _Temporary(path, content) as temporary:
            try:
                # A hard link fails when the name is taken; a rename would silently replace it.
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                return _exclusive_copy(path, content)
            _sync_folder(path.parent)
        return True

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are left out."""
        try:
            with os.scandir(self._path(folder)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; temporary files are left out."""
        return sorted(self._list(self._path(folder)))

    def delete(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        self._path(name).unlink(missing_ok=True)

    def below(self, folder: str) -> LocalFiles:
        """A folder of this one as a root of its own."""
        return LocalFiles(self._path(folder))

    @staticmethod
    def _list(path: Path) -> Iterator[str]:
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_file() and not entry.name.startswith("."):
                        yield entry.name
        except (FileNotFoundError, NotADirectoryError):
            return

    def _path(self, name: str) -> Path:
        return self._root / checked(name, str(self._root))


class _Temporary:
    """A synced file with the content beside `path`, removed on leaving unless it was renamed."""

    def __init__(self, path: Path, content: bytes) -> None:
        self._content = content
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")

    def __enter__(self) -> Path:
        try:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary.open("xb") as file:
                file.write(self._content)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if self._temporary.parent.is_dir():
                self._temporary.unlink(missing_ok=True)
            raise OutputError(f"cannot write {self._temporary.parent}: {error.strerror or error}") from error
        return self._temporary

    def __exit__(self, *_: object) -> None:
        self._temporary.unlink(missing_ok=True)


def _exclusive_copy(path: Path, content: bytes) -> bool:
    """Where a mount has no hard links (FUSE, say): exclusive create. Atomic in name, not in content."""
    try:
        with path.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
