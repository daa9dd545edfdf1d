"""Who is given which job: the session that will get to it first, and not the one that has just lost it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.parcels import LARGEST, size
from spark_nas.engines.channel.records import Arrival, SessionState
from spark_nas.engines.channel.resting import Rests
from spark_nas.engines.worker import Assignment
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import job_to_json, result_to_json

_STUCK_SECONDS = 0.5
"""After so long at one job, a session gives back what it holds behind it if others are idle."""
Hands = dict[SessionState, list[tuple[str, int]]]
"""Jobs (JSON and attempt) for each session, in order."""


class Dealer:
    """Moves jobs from the queue into what sessions hold; sends nothing."""

    def __init__(
        self,
        queue: deque[Assignment],
        lookahead: Lookahead,
        rests: Rests,
        lease_seconds: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._queue, self._lookahead, self._rests = queue, lookahead, rests
        self._lease, self._clock = lease_seconds, clock

    def deal(self, sessions: Collection[SessionState]) -> tuple[Hands, list[Arrival]]:
        """What is to be sent to whom, as long as any has room; and what of jobs that no message can hold."""
        ready = [session for session in sessions if self.has_room(session)]
        hands: Hands = {}
        refused: list[Arrival] = []
        waiting: list[Assignment] = []
        while self._queue and ready:
            assignment = self._queue.popleft()
            text = job_to_json(assignment.job)
            if (length := size(text)) > LARGEST:
                refused.append(_refusal(assignment, length))
            elif (session := self._choose(assignment.job.key, ready, sessions)) is None:
                waiting.append(assignment)
            else:
                self._give(session, assignment)
                hands.setdefault(session, []).append((text, assignment.attempt))
                if not self.has_room(session):
                    ready.remove(session)
        self._queue.extendleft(reversed(waiting))
        return hands, refused

    def has_room(self, session: SessionState) -> bool:
        """Whether a session should be given one more job."""
        if session.leaving or session.recalled or self.is_expired(session) or session.number in self._rests.resting:
            return False
        if not session.held:
            return True
        return not self.is_stuck(session) and self._lookahead.has_room(len(session.held), session.load)

    def stays(self, session: SessionState) -> bool:
        """Whether a session will take jobs, now or later."""
        return not session.leaving and not self.is_expired(session)

    def is_stuck(self, session: SessionState) -> bool:
        """Whether a session is at its job for longer than others should wait behind it."""
        return self._clock() - session.moved > _STUCK_SECONDS

    def is_expired(self, session: SessionState) -> bool:
        """Whether a session's lease is over."""
        return self._lease is not None and self._clock() - session.begun >= self._lease

    def is_empty(self) -> bool:
        """Whether nothing is queued but jobs that avoid a session."""
        return all(self._rests.avoided(assignment.job.key) is not None for assignment in self._queue)

    def _choose(
        self, key: JobKey, ready: list[SessionState], sessions: Collection[SessionState]
    ) -> SessionState | None:
        """Who will get to a job first; None when it should wait for another session than the one that lost it."""
        avoided = self._rests.avoided(key)
        if avoided is not None and any(s.number != avoided and self.stays(s) for s in sessions):
            ready = [session for session in ready if session.number != avoided]
        return min(ready, key=lambda s: (s.load, len(s.held), s.number), default=None)

    def _give(self, session: SessionState, assignment: Assignment) -> None:
        expected = self._lookahead.expected(assignment.job.rung)
        if not session.held:
            session.moved = self._clock()
        session.held[assignment.job.key] = assignment, expected
        session.load += expected


def _refusal(assignment: Assignment, length: int) -> Arrival:
    job, attempt = assignment
    error = f"it cannot be sent to a worker: its {length} bytes are more than the {LARGEST} of one message"
    return Arrival(assignment, result_to_json(Result(job, "failed", error=error, attempt=attempt)))
