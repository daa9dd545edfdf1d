"""Creating a file that must not be there, whole and once: by a hard link, and on mounts without any by a claim.

A link fails when its name is taken; a rename would silently replace. Where a mount has no links (FUSE, FAT) the name is
claimed first, by creating it empty and exclusively, and the complete file, which lies beside it, is renamed over it.

    mark it -> claim it, empty -> rename the whole file over it -> remove the mark

So what a name shows is nothing (empty, and marked) or all. A claim whose owner died is taken over: whoever comes next
waits a while, removes **the complete files of all others**, looks again, and renames its own. An owner that was only
slow finds its file gone. Of any two that would rename, one lists the folder when the other's file is there, and has
removed it or comes too late: at most one ever succeeds, however long each of them sleeps (docs/decisions/0018).
"""

from __future__ import annotations

import errno
import os
import random
import time
from pathlib import Path

from spark_nas.errors import StoreUnavailable
from spark_nas.storage.disk import Temporary, prefix_of, sync_folder, told

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_KIND = "new."
_MARK = ".claim"
_PATIENCE = 5.0
"""Seconds for which a claim must stay empty, twice, before it is taken over. Longer than mounts remember what was."""
_POLL = 0.05
_TURNS = 30
"""How often those that take over may get into each other's way."""


def create(path: Path, content: bytes) -> bool:
    """Create a file, atomically and durably; False when it is there already.

    Raises OutputError, or StoreUnavailable where the disk fails or others never cease to interfere.
    """
    for turn in range(_TURNS):
        with told("write", path.parent), Temporary(path, content, _KIND) as temporary:
            try:
                created = _link(temporary, path)
                if created is None:
                    created = _claim(temporary, path) or _take_over(temporary, path)
                    _mark(path).unlink(missing_ok=True)
            except FileNotFoundError:  # somebody took our temporary away, or the file itself
                created = None
            if created:
                sync_folder(path.parent)
            if created is not None:
                return created
        time.sleep(random.uniform(0, min(1.0, 0.01 * 2**turn)))
    raise StoreUnavailable(f"cannot write {path}: others keep trying to; the same command continues")


def is_claimed(path: Path) -> bool:
    """Whether a file, if it is empty, is only a name that somebody has claimed."""
    return _mark(path).exists()


def visible(folder: Path, names: list[str]) -> list[str]:
    """Those of the files in a folder that are whole: neither marks nor claims."""
    marks = {name for name in names if name.startswith("_") and name.endswith(_MARK)}
    if not marks:
        return names
    whole = [name for name in names if name not in marks]
    return [name for name in whole if _mark_of(name) not in marks or not _is_claim(folder / name)]


def _link(temporary: Path, path: Path) -> bool | None:
    """Whether it could be linked to its name; None where that has to be claimed."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        if os.path.samefile(temporary, path):  # a server whose answer was lost is asked once more, and refuses itself
            return True
        return None if _is_claim(path) else False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        return None
    return True


def _claim(temporary: Path, path: Path) -> bool:
    """Whether the name was free; it holds the content then. Raises FileNotFoundError when another took it over."""
    if path.exists():
        return False
    _mark(path).touch()
    try:
        path.open("xb").close()
    except FileExistsError:
        return False
    os.replace(temporary, path)
    return True


def _take_over(temporary: Path, path: Path) -> bool:
    """Whether the claim that is there was given up; it is ours then. Raises FileNotFoundError as `_claim` does."""
    if not _stays_empty(path):
        return False
    prefix = prefix_of(path, _KIND)
    with os.scandir(path.parent) as entries:
        rivals = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.name != temporary.name]
    for rival in rivals:
        path.with_name(rival).unlink(missing_ok=True)
    if not _stays_empty(path):  # one of them was faster
        return False
    os.replace(temporary, path)
    return True


def _stays_empty(path: Path) -> bool:
    until = time.monotonic() + _PATIENCE
    while _is_empty(path):
        if time.monotonic() >= until:
            return True
        time.sleep(_POLL)
    return False


def _is_empty(path: Path) -> bool:
    return path.stat().st_size == 0


def _is_claim(path: Path) -> bool:
    try:
        return _is_empty(path) and is_claimed(path)
    except FileNotFoundError:
        return False


def _mark(path: Path) -> Path:
    return path.with_name(_mark_of(path.name))


def _mark_of(name: str) -> str:
    return f"_{name}{_MARK}"
