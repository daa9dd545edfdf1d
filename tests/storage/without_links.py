"""Mounts without hard links, and other things happening - or the process ending - at each call of the system."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from spark_nas.storage import creating

CHANGES: tuple[tuple[object, str], ...] = (
    *((Path, name) for name in ("mkdir", "open", "touch", "unlink")),
    *((os, name) for name in ("link", "replace", "fsync")),
)
"""What creating a file asks of the system that leaves traces."""
CALLS = (*CHANGES, (Path, "exists"), (Path, "stat"), (os, "scandir"))
"""Whatever it asks."""


def refuse(*_: object) -> None:
    """What `os.link` does on FAT and on most of FUSE."""
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


def without_links(patch: pytest.MonkeyPatch, patience: float = 0.0) -> None:
    """From now on no file can be linked, and a claim is given up after `patience` seconds."""
    patch.setattr(os, "link", refuse)
    patch.setattr(creating, "_PATIENCE", patience)


class Calls:
    """Counts the calls and, before the one of number `call`, acts; calls made by the act do not count."""

    def __init__(self, call: int, act: Callable[[], object]) -> None:
        self.made, self._call, self._act, self._acting = 0, call, act, False

    def watch(self, patch: pytest.MonkeyPatch, calls: tuple[tuple[object, str], ...] = CALLS) -> None:
        for owner, name in calls:
            patch.setattr(owner, name, self._watched(getattr(owner, name)))

    def _watched(self, function: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **named: object) -> object:
            if not self._acting:
                self.made += 1
                if self.made == self._call:
                    self._acting = True
                    try:
                        self._act()
                    finally:
                        self._acting = False
            return function(*arguments, **named)

        return watched
