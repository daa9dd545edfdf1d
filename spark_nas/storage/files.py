"""The few file operations that a run needs, on a local (or mounted) disk.

Everything above this file - jobs, results, run records - is written in terms of them, so another store is
another class with the same methods (`s3.py`, `arrow_files.py`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from spark_nas.errors import OutputError
from spark_nas.storage.creating import create, is_claimed, visible
from spark_nas.storage.disk import Temporary, sync_folder, told


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
    """`Files` on a local or mounted disk. Durable: content and folder entry are synced before a write returns.

    Each method raises OutputError where the place or the rights are wrong or the disk is full, and StoreUnavailable
    where the disk or its server fails; no OSError leaves it.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self._root = Path(root).absolute()  # executors have other working directories

    @property
    def root(self) -> str:
        """Absolute path of the root folder."""
        return str(self._root)

    def read(self, name: str) -> bytes | None:
        """The content, or None when there is no such file."""
        path = self._path(name)
        with told("read", path):
            try:
                if content := path.read_bytes():
                    return content
                # Where the mark has just gone the file is complete by now.
                return None if is_claimed(path) else path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes) -> None:
        """Create or replace, atomically."""
        self.write_ahead(name, content)
        path = self._path(name)
        with told("write", path.parent):
            sync_folder(path.parent)

    def write_ahead(self, name: str, content: bytes) -> None:
        """As `write`, but its name is durable only with that of the next file that is created in its folder.

        For a file that nobody looks for before that one is there. A journal keeps the order of names in a folder.
        """
        path = self._path(name)
        with told("write", path.parent), Temporary(path, content) as temporary:
            os.replace(temporary, path)

    def write_new(self, name: str, content: bytes) -> bool:
        """Create, atomically; False when the file is there already."""
        return create(self._path(name), content)

    def folders(self, folder: str) -> list[str]:
        """Names of the folders directly in a folder, sorted; hidden ones are left out."""
        path = self._path(folder)
        with told("list", path):
            return sorted(entry.name for entry in _entries(path) if entry.is_dir())

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in a folder, sorted; temporary files are left out."""
        path = self._path(folder)
        with told("list", path):
            return sorted(visible(path, [entry.name for entry in _entries(path) if entry.is_file()]))

    def delete(self, name: str) -> None:
        """Remove a file; no error when it is not there."""
        path = self._path(name)
        with told("delete", path):
            path.unlink(missing_ok=True)

    def below(self, folder: str) -> LocalFiles:
        """A folder of this one as a root of its own."""
        return LocalFiles(self._path(folder))

    def _path(self, name: str) -> Path:
        return self._root / checked(name, str(self._root))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is directly in a folder and not hidden; nothing when there is no such folder."""
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
