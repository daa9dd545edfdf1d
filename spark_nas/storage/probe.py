"""What a store can do, found out by doing it: some stores accept the header of a conditional write and overwrite."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from spark_nas.errors import OutputError, SparkNasError, StoreUnavailable
from spark_nas.storage.files import Files

MOST_SKEW = 60.0
"""Seconds by which this machine's clock may differ from the store's; from 900 on S3 refuses every request."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a store was asked to do."""

    name: str
    passed: bool
    reason: str = ""
    """Why not, and what to do; empty when passed."""


def probe(files: Files) -> list[Check]:
    """Write, read, list, create conditionally and delete files named `_probe-...`, and compare clocks where one can.

    Nothing is left behind. Never raises; a store that does not answer is asked no further.
    """
    checks = []
    for what, attempt in _attempts(files, f"_probe-{uuid.uuid4().hex}"):
        try:
            reason = attempt()
        except (SparkNasError, OSError) as error:
            reason = str(error)
            if isinstance(error, StoreUnavailable):
                checks.append(Check(what, passed=False, reason=reason))
                break
        checks.append(Check(what, reason is None, reason or ""))
    return checks


def require_answer(files: Files) -> None:
    """Raise StoreUnavailable, in about ten seconds, where nothing can be connected to: a wrong endpoint, no network.

    A store that has answered once is given far more time afterwards: it will be back.
    """
    if hasattr(files, "reach"):
        files.reach()


def require_conditional_writes(files: Files) -> None:
    """Raise OutputError when two creations of one file can both succeed at this store: no run is safe there."""
    reason = _conditional(files, f"_probe-{uuid.uuid4().hex}")
    if reason is not None:
        raise OutputError(f"{files.root}: {reason}")


def skewed(before: datetime, written: datetime | None, after: datetime) -> str | None:
    """Why a clock that says `before` and `after` cannot agree with the store's, which said `written` in between.

    >>> noon = datetime(2026, 11, 24, 12, tzinfo=UTC)
    >>> skewed(noon, noon, noon)
    >>> skewed(noon, noon.replace(hour=11), noon)
    "this machine's clock is 3600 s ahead of the store's: set it (by NTP)"
    """
    if written is None:
        return "what was written is not there"
    ahead, behind = (before - written).total_seconds(), (written - after).total_seconds()
    if max(ahead, behind) <= MOST_SKEW:
        return None
    where = f"{ahead:.0f} s ahead of" if ahead > behind else f"{behind:.0f} s behind"
    return f"this machine's clock is {where} the store's: set it (by NTP)"


def _attempts(files: Files, name: str) -> Iterator[tuple[str, Callable[[], str | None]]]:
    content = uuid.uuid4().bytes

    def write() -> None:
        require_answer(files)
        files.write(name, content)

    def read() -> str | None:
        return None if files.read(name) == content else "what was written does not come back"

    def listing() -> str | None:
        return None if name in files.list("") else "what was written is not listed"

    def delete() -> str | None:
        files.delete(name)
        return None if files.read(name) is None else "what was deleted still comes back"

    yield "write", write
    yield "read", read
    yield "list", listing
    yield "conditional write", lambda: _conditional(files, name)
    if hasattr(files, "written_at"):
        yield "clock", lambda: _clock(files, name, files.written_at)
    yield "delete", delete


def _clock(files: Files, name: str, written_at: Callable[[str], datetime | None]) -> str | None:
    before = datetime.now(UTC)
    files.write(name, b"")
    return skewed(before, written_at(name), datetime.now(UTC))


def _conditional(files: Files, name: str) -> str | None:
    """Why a second creation of one file was not refused, or None when it was; the file is removed again."""
    name = f"{name}.new"
    created = files.write_new(name, b"first")  # where this raises there is nothing to remove
    try:
        return _second(files, name) if created else "a conditional write was refused although nothing was there"
    finally:
        with suppress(SparkNasError, OSError):
            files.delete(name)


def _second(files: Files, name: str) -> str | None:
    if files.write_new(name, b"second"):
        return (
            "this store ignores the condition of a conditional write (If-None-Match) and overwrites, so a job could be "
            "committed twice: use a newer version of it, or another store"
        )
    return None if files.read(name) == b"first" else "a refused write changed the content"
