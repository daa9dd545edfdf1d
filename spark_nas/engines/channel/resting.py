"""After a machine's or a store's fault: the session rests a little, and the job that it lost goes to another.

A session that has just lost a job is idle, and would else draw the next one at once: one full disk would lose job after
job, and use up the attempts of each. No sockets, no time of its own.
"""

from __future__ import annotations

from spark_nas.search.records import JobKey

_REST_SECONDS = 1.0
_MOST_REST = 30.0
_AVOID_SECONDS = 60.0
"""After so long a job goes to the session that lost it all the same, though another is there: that one may be at a
job of hours, and networks recover."""


class Rests:
    """Which sessions rest, 1, 2, 4, ... 30 s after each job lost in a row, and which jobs avoid which session."""

    def __init__(self) -> None:
        self._in_a_row: dict[int, int] = {}
        self.resting: dict[int, float] = {}
        """Sessions that should be given no job, and until when."""
        self._avoid: dict[JobKey, tuple[int, float]] = {}

    def lost(self, session: int, key: JobKey, now: float) -> None:
        """A session has handed in a job as lost."""
        row = self._in_a_row[session] = self._in_a_row.get(session, 0) + 1
        self.resting[session] = now + min(_REST_SECONDS * 2 ** (row - 1), _MOST_REST)
        self._avoid[key] = session, now + _AVOID_SECONDS

    def worked(self, session: int, key: JobKey) -> None:
        """A session has handed in a job that went its way."""
        self._in_a_row.pop(session, None)
        self.resting.pop(session, None)
        self._avoid.pop(key, None)

    def forget(self, session: int) -> None:
        """A session is gone; a new one of its number starts afresh."""
        self._in_a_row.pop(session, None)
        self.resting.pop(session, None)

    def avoided(self, key: JobKey) -> int | None:
        """The session that a job should not go to now, if there is another."""
        return self._avoid[key][0] if key in self._avoid else None

    def over(self, now: float) -> bool:
        """End what has lasted long enough; returns whether that was anything."""
        rested = [session for session, until in self.resting.items() if now >= until]
        free = [key for key, (_, until) in self._avoid.items() if now >= until]
        for session in rested:
            del self.resting[session]
        for key in free:
            del self._avoid[key]
        return bool(rested or free)
