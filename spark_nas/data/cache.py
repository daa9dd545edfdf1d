"""Decoded splits, kept for the life of the process.

Spark reuses a Python worker for many jobs, so a split that one trial has decoded is there for the next. The cache is
bounded by bytes, evicts the least recently used split, and loads a split once however many threads ask for it. What was
evicted stays alive as long as somebody still iterates over it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class CacheKey(NamedTuple):
    """A split of one data set at one place."""

    path: str
    fingerprint: str
    split: str


class DecodedSplit(NamedTuple):
    """All rows of a split in stored order; both arrays are read-only."""

    x: NDArray[np.generic]
    y: NDArray[np.int64]

    @property
    def bytes(self) -> int:
        """Memory it takes."""
        return self.x.nbytes + self.y.nbytes


def is_kept(split: str, sizes: Mapping[str, int], room: int) -> bool:
    """Whether a split has a place in memory: splits get theirs in the order of `sizes`, while there is room.

    Sizes and room are in bytes. The decision depends on them alone, so splits used in turn never evict one another.
    """
    for name, size in sizes.items():
        if name == split:
            return size <= room
        room -= size if size <= room else 0
    raise KeyError(split)


class DecodedCache:
    """LRU cache of decoded splits, bounded in bytes. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[CacheKey, DecodedSplit] = OrderedDict()
        self._loading: dict[CacheKey, threading.Lock] = {}

    def get(self, key: CacheKey, load: Callable[[], DecodedSplit], limit: int) -> DecodedSplit:
        """The split of `key`, from memory or from `load()`; afterwards at most `limit` bytes are kept.

        Room is made before `load` runs, for a split of `limit` bytes at most. An exception of `load` is passed on and
        leaves nothing behind.
        """
        found = self._find(key)
        if found is not None:
            return found
        with self._lock:
            loading = self._loading.setdefault(key, threading.Lock())
        with loading:
            try:
                found = self._find(key)
                if found is None:
                    found = load()
                    with self._lock:
                        self._entries[key] = found
                        self._shrink(limit)
            finally:
                with self._lock:
                    self._loading.pop(key, None)
        return found

    def make_room(self, wanted: int, limit: int) -> None:
        """Evict until `wanted` more bytes fit below `limit`."""
        with self._lock:
            self._shrink(max(0, limit - wanted))

    @property
    def bytes(self) -> int:
        """Memory held now."""
        with self._lock:
            return sum(entry.bytes for entry in self._entries.values())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()

    def __contains__(self, key: CacheKey) -> bool:
        with self._lock:
            return key in self._entries

    def _find(self, key: CacheKey) -> DecodedSplit | None:
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def _shrink(self, limit: int) -> None:
        held = sum(entry.bytes for entry in self._entries.values())
        while self._entries and held > limit:
            _, evicted = self._entries.popitem(last=False)
            held -= evicted.bytes


DECODED = DecodedCache()
"""The process's cache."""
