"""Jobs as messages: as many in one as a frame takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from spark_nas.engines.channel.frames import MAX_PAYLOAD, Message

_AROUND = 256
"""Bytes of a frame that are no job's: its seal, and what stands around the jobs. Many more than there are."""
_AROUND_JOB = 32
"""Bytes of a job that are not its JSON: brackets, quotation marks, commas, its attempt."""
LARGEST = MAX_PAYLOAD - _AROUND
"""Bytes that the jobs of one message may have."""


def size(text: str) -> int:
    """Bytes of a job in a message, at the most; `text` is its JSON, in ASCII as `search.wire` makes it."""
    # JSON within JSON: each quotation mark and backslash becomes two. Counting them is for the few that are so long.
    most = 2 * len(text) + _AROUND_JOB
    return most if most <= LARGEST else len(json.dumps(text)) + _AROUND_JOB


def parcels(jobs: Sequence[tuple[str, int]]) -> Iterator[Message]:
    """The messages that hold these jobs (JSON and attempt) in their order, each of a `size` of at most `LARGEST`."""
    parcel: list[tuple[str, int]] = []
    full = 0
    for text, attempt in jobs:
        more = size(text)
        if parcel and full + more > LARGEST:
            yield {"type": "jobs", "jobs": parcel}
            parcel, full = [], 0
        parcel.append((text, attempt))
        full += more
    if parcel:
        yield {"type": "jobs", "jobs": parcel}
