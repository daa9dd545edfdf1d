"""Many small parts of a results table become few large ones, while the search goes on.

Blocks of `FAN` parts are merged into one, `FAN` of those into the next, and so on: each row is written again once a
size, and the number of files grows with the logarithm of the number of appends. The order - publish the merged part,
then remove what it contains - is what makes an end at any point harmless; that all ranges are nested or apart
(`parts`) is what makes two compactions at once harmless.

Only readers that know nothing of ranges (a plain `SELECT` over `results/*.parquet`) can see rows twice: those that
list the folder in the milliseconds between publishing and removing, or after a kill just then, until the next one.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from spark_nas.storage.files import Files
from spark_nas.storage.parts import FAN, PATIENCE, Listing, Part, batches, damaged, list_parts, sound, within
from spark_nas.storage.rows import SCHEMA

_GROUP_ROWS = 20_000
LARGEST_BYTES = 128 * 1024 * 1024
"""A part is not merged into one that would be larger: large parts are no burden, and must fit into memory."""

_log = logging.getLogger(__name__)


class Compacted(NamedTuple):
    """What a compaction has done."""

    merged: int
    """Parts published."""
    removed: int
    """Parts removed, those that an earlier compaction left behind among them."""


def encode(table: pa.Table) -> bytes:
    """A table of results as the content of a part."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, row_group_size=_GROUP_ROWS, write_page_checksum=True)
    return bytes(buffer.getvalue().to_pybytes())


def compact(files: Files, *, largest: int = LARGEST_BYTES, full: set[Part] | None = None) -> Compacted:
    """Finish what others left, and merge what can be merged. Safe beside a search and beside other compactions.

    `full` remembers, from call to call, the blocks that would become larger than `largest` bytes. Raises OutputError
    when a part is missing or damaged; nothing has been removed then that is not contained in a sound part.
    """
    full = set() if full is None else full
    merged = removed = 0
    for _ in range(PATIENCE):
        listing = list_parts(files)
        removed += _sweep(files, listing)
        blocks = plan(listing.parts, full)
        if not blocks:
            break
        for block, pieces in blocks:
            content = _merge(files, pieces, largest)
            if content is None:
                break  # another compaction was faster: look again
            if not content:
                full.add(block)
            elif files.write_new(block.name, content):
                merged += 1
                for piece in pieces:
                    files.delete(piece.name)
                    removed += 1
            # Otherwise it is there already, from another compaction: the next turn's sweep looks at it.
    return Compacted(merged, removed)


def plan(parts: tuple[Part, ...], full: set[Part]) -> list[tuple[Part, tuple[Part, ...]]]:
    """The largest blocks that are complete and in more than one part, each with its parts.

    A block that contains one of `full` is left out.

    >>> [block for block, _ in plan(tuple(Part(i, i) for i in range(75)), set())]
    [Part(first=0, last=63), Part(first=64, last=71)]
    """
    end = parts[-1].last + 1 if parts else 0
    size = 1
    while size * FAN <= end:
        size *= FAN
    blocks: list[tuple[Part, tuple[Part, ...]]] = []
    begin = i = 0
    while i < len(parts):
        while begin % size or begin + size > end:
            size //= FAN
        block = Part(begin, begin + size - 1)
        if any(block.contains(other) for other in full):
            size //= FAN
            continue
        last = i
        while parts[last].last < block.last:
            last += 1
        if last > i:
            blocks.append((block, parts[i : last + 1]))
        begin, i = parts[last].last + 1, last + 1
        while begin % (size * FAN) == 0 and begin + size * FAN <= end:
            size *= FAN
    return blocks


def _merge(files: Files, pieces: tuple[Part, ...], largest: int) -> bytes | None:
    """The content of the merged part; empty when it would be too large, None when a piece is no longer there.

    One piece at a time is held in memory, besides the compressed result.
    """
    buffer, waiting, rows, size = io.BytesIO(), list[pa.RecordBatch](), 0, 0
    with pq.ParquetWriter(buffer, SCHEMA, write_page_checksum=True) as writer:
        for piece in pieces:
            content = files.read(piece.name)
            if content is None:
                return None
            size += len(content)
            if size > FAN * largest or buffer.tell() > largest:
                return b""
            for batch in batches(files, piece, content):
                waiting.append(batch)
                rows += batch.num_rows
                if rows >= _GROUP_ROWS:
                    writer.write_table(pa.Table.from_batches(waiting, SCHEMA), _GROUP_ROWS)
                    waiting, rows = [], 0
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting, SCHEMA), _GROUP_ROWS)
    return b"" if buffer.tell() > largest else buffer.getvalue()


def _sweep(files: Files, listing: Listing) -> int:
    """Remove the leftovers of parts that are sound; returns how many.

    A part that is torn (see `parts`) is first written again from the leftovers. Raises Damaged when they are gone.
    """
    removed = 0
    for block in listing.parts:
        leftovers = [part for part in listing.leftovers if block.contains(part)]
        if not leftovers:
            continue
        content = files.read(block.name)
        if content is None:
            continue  # merged into a larger one meanwhile
        if not sound(files, block, content):
            smaller = within(block, listing)
            if smaller is None:
                raise damaged(files, block, ValueError("it is torn, and the parts it was made of are gone"))
            whole = _merge(files, smaller, sys.maxsize)
            if not whole:
                continue
            files.write(block.name, whole)
        for part in leftovers:
            files.delete(part.name)
            removed += 1
    return removed


class Compactor:
    """Compacts one run in a thread of its own, whenever it is asked to; one compaction at a time."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._full: set[Part] = set()
        self._lock = threading.Lock()
        self._wanted = False
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def want(self) -> None:
        """Compact soon; returns at once. What goes wrong is logged, and tried again by `finish`."""
        with self._lock:
            self._wanted = True
            if self._thread is None:
                # No daemon: an interpreter that ends waits for it.
                self._thread = threading.Thread(target=self._work, name="spark_nas compaction")
                self._thread.start()

    def finish(self) -> None:
        """Wait for the thread; when the last compaction went wrong try once more, in this thread, and raise."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()
        if self._error is not None:
            self._error = None
            compact(self._files, full=self._full)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return
                self._wanted = False
            try:
                compact(self._files, full=self._full)
                self._error = None
            except Exception as error:  # a search must not end because its housekeeping failed
                self._error = error
                _log.warning("%s: the results could not be compacted: %s", self._files.root, error)
