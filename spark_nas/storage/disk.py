"""What disks and mounts have in common: whose fault an error is, files written aside, and names that last."""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spark_nas.errors import OutputError, StoreUnavailable

_PASSING = (
    *("EAGAIN", "EBUSY", "EIO", "EMFILE", "ENFILE", "ENOLCK", "ENOMEM", "EREMOTEIO", "ESTALE"),
    *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET"),
    *("ENETUNREACH", "ENODEV", "ENOTCONN", "ENXIO", "EPIPE", "ETIMEDOUT"),
)
_CODES = frozenset(getattr(errno, name) for name in _PASSING if hasattr(errno, name))
"""A disk, its server or this machine fails. A full disk is none of them: whoever owns it has to make room."""
_NAME = re.compile(r"\..+\.[0-9a-f]{32}")
_NO_FOLDER_SYNC = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})


@contextmanager
def told(what: str, path: Path) -> Iterator[None]:
    """Turn an OSError into one line that says `cannot WHAT PATH` and why.

    StoreUnavailable when the disk or its server failed, OutputError when the place or the rights are wrong, or the
    disk is full.
    """
    try:
        yield
    except OSError as error:
        reason = f"cannot {what} {path}: {error.strerror or error}"
        if error.errno in _CODES:
            raise StoreUnavailable(f"{reason}; the same command continues") from error
        raise OutputError(reason) from error


class Temporary:
    """A synced file with the content beside `path`, removed on leaving unless it was renamed.

    Its name begins with `prefix_of(path, kind)`.
    """

    def __init__(self, path: Path, content: bytes, kind: str = "") -> None:
        self._content = content
        self._temporary = path.with_name(f"{prefix_of(path, kind)}{uuid.uuid4().hex}")

    def __enter__(self) -> Path:
        try:
            self._temporary.parent.mkdir(parents=True, exist_ok=True)
            with self._temporary.open("xb") as file:
                file.write(self._content)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            self.__exit__()
            raise
        return self._temporary

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # it is hidden, and in nobody's way
            self._temporary.unlink(missing_ok=True)


def prefix_of(path: Path, kind: str) -> str:
    """How the names of a file's temporaries begin."""
    return f".{path.name}.{kind}"


def is_temporary(path: Path) -> bool:
    """Whether it is named like a `Temporary`; other hidden files are somebody else's, such as a file server's own."""
    return _NAME.fullmatch(path.name) is not None


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the file system has a word for it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(handle)
