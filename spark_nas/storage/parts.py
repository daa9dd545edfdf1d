"""The parts of a results table: their names, which of them count, and reading them in order.

`part-NNNNNNNN.parquet` is one append; `part-AAAAAAAA-BBBBBBBB.parquet` holds what the appends A to B held. Ranges are
blocks of a power of `FAN`, beginning at a multiple of their length: so of any two parts either the one contains the
other or they have nothing in common, whoever merged them and when. **Where one part contains another, the larger
counts**: a compaction publishes the larger and then removes the smaller ones, and may end anywhere in between.

Names have no gaps. A file that was listed and is gone when it is read was merged meanwhile: the listing is made again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from spark_nas.errors import OutputError
from spark_nas.storage.files import Files
from spark_nas.storage.rows import SCHEMA, SCHEMA_VERSION

FOLDER = "results"
FAN = 8
"""How many parts are merged into one of the next size: 200 appends leave at most 17 files, a million at most 49."""
_NAME = re.compile(r"part-([0-9]{8})(?:-([0-9]{8}))?\.parquet")
PATIENCE = 50
"""How often a listing may be overtaken by compactions before it is called damaged."""
_BATCH_ROWS = 4_000


class Damaged(OutputError):
    """A part cannot be read; the message names it."""


class Part(NamedTuple):
    """Appends `first` to `last`, both included."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """The file's name, relative to the run."""
        numbers = f"{self.first:08d}" if self.first == self.last else f"{self.first:08d}-{self.last:08d}"
        return f"{FOLDER}/part-{numbers}.parquet"

    def contains(self, other: Part) -> bool:
        """Whether the other's appends are all among this one's."""
        return self.first <= other.first and other.last <= self.last


class Listing(NamedTuple):
    """What `results/` holds."""

    parts: tuple[Part, ...]
    """Those that count, in order; together the appends 0 to `end` - 1."""
    leftovers: tuple[Part, ...]
    """Those that lie within one of them, in order."""

    @property
    def end(self) -> int:
        """The number of the next append."""
        return self.parts[-1].last + 1 if self.parts else 0


def list_parts(files: Files) -> Listing:
    """What there is. Raises OutputError, naming the gap, when parts are missing however often one looks."""
    missing = 0
    for _ in range(PATIENCE):
        listing = arrange([part for name in files.list(FOLDER) if (part := parse(name)) is not None])
        gap = _gap(listing.parts, 0)
        if gap is None:
            return listing
        missing = gap
    raise OutputError(f"{files.root}/{Part(missing, missing).name} is missing: the results table has lost rows")


def parse(name: str) -> Part | None:
    """The part of this name; None for another file.

    >>> parse("part-00000008-00000015.parquet"), parse("part-00000009-00000016.parquet"), parse("_SUCCESS")
    (Part(first=8, last=15), None, None)
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    first = int(match[1])
    if match[2] is None:
        return Part(first, first)
    length = int(match[2]) - first + 1
    size = FAN
    while size < length:
        size *= FAN
    return Part(first, first + length - 1) if size == length and first % length == 0 else None


def arrange(parts: Sequence[Part]) -> Listing:
    """Sort parts into those that count and those within them."""
    counting: list[Part] = []
    leftovers: list[Part] = []
    for part in sorted(parts, key=lambda part: (part.first, -part.last)):
        (leftovers if counting and counting[-1].contains(part) else counting).append(part)
    return Listing(tuple(counting), tuple(leftovers))


def within(block: Part, listing: Listing) -> tuple[Part, ...] | None:
    """The largest leftovers that together make up `block`; None when some are gone."""
    inside = arrange([part for part in listing.leftovers if block.contains(part) and part != block]).parts
    whole = bool(inside) and _gap(inside, block.first) is None and inside[-1].last == block.last
    return inside if whole else None


def _gap(parts: Sequence[Part], begin: int) -> int | None:
    for part in parts:
        if part.first != begin:
            return begin
        begin = part.last + 1
    return None


def batches(files: Files, part: Part, content: bytes) -> Iterator[pa.RecordBatch]:
    """A part's rows, some thousand at a time. Raises Damaged when they cannot be read."""
    try:
        # In this thread: pyarrow's own may still hold the Python buffer when the interpreter ends, and abort it.
        with pq.ParquetFile(io.BytesIO(content), pre_buffer=False, page_checksum_verification=True) as file:
            version = (file.schema_arrow.metadata or {}).get(b"spark_nas", b"?").decode()
            if version != str(SCHEMA_VERSION):
                raise OutputError(
                    f"{files.root}/{part.name} has results of schema {version}, this version reads {SCHEMA_VERSION}"
                )
            missing = file.metadata.num_rows
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
                missing -= batch.num_rows
                yield from pa.Table.from_batches([batch]).cast(SCHEMA).to_batches()
            if missing:  # a damaged header of a page may end a column early, without an error
                raise ValueError(f"{missing} of its rows cannot be read")
    except (pa.ArrowException, OSError, ValueError) as error:
        raise damaged(files, part, error) from error


def damaged(files: Files, part: Part, error: Exception) -> Damaged:
    """The complaint about a part that cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return Damaged(f"{files.root}/{part.name} is not a results part: {reason}")


def stream(files: Files, least: int = 0) -> Iterator[tuple[Part, pa.RecordBatch]]:
    """All rows in the order of appending, part by part, also while a compaction is under way elsewhere.

    Appends made after the call began may or may not be among them; `least` of them there are in any case: a listing
    that is no snapshot may miss the last parts, merged while it was made, and leave no gap. Raises OutputError, naming
    the file, when a part is missing or cannot be read.
    """
    position, done, overtaken = 0, list[tuple[Part, int]](), 0
    while overtaken < PATIENCE:
        listing = list_parts(files)
        for part in listing.parts:
            if part.last < position:
                continue
            pieces = _read(files, part, listing)
            if pieces is None:
                overtaken += 1
                break
            # What the part holds before `position` was read from the smaller parts that it was merged from.
            skip = sum(rows for other, rows in done if part.contains(other))
            rows = 0
            for piece, content in pieces:
                for batch in batches(files, piece, content):
                    rows += batch.num_rows
                    fresh = min(batch.num_rows, max(0, rows - skip))
                    if fresh:
                        yield piece, batch.slice(batch.num_rows - fresh)
            done = [(other, n) for other, n in done if not part.contains(other)] + [(part, rows)]
            position, overtaken = part.last + 1, 0
        else:
            if position >= least:
                return
            overtaken += 1
    raise OutputError(f"{files.root}/{FOLDER}: files vanish while they are read; is something else deleting them?")


def _read(files: Files, part: Part, listing: Listing) -> list[tuple[Part, bytes]] | None:
    """The part's content; None when it has vanished.

    A merged part may be damaged while the parts that it was made of are still there: then they serve.
    """
    content = files.read(part.name)
    if content is None:
        return None
    smaller = within(part, listing)
    if smaller is not None and not sound(files, part, content):
        pieces = [(piece, files.read(piece.name)) for piece in smaller]
        found = [(piece, content) for piece, content in pieces if content is not None]
        return found if len(found) == len(pieces) else None
    return [(part, content)]


def sound(files: Files, part: Part, content: bytes) -> bool:
    """Whether all of a part can be read."""
    try:
        for _ in batches(files, part, content):
            pass
    except Damaged:
        return False
    return True
