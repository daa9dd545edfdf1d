"""Which session gets which job, and what becomes of the jobs of a session that is gone. No sockets, no Spark, no time.

A session that is at a short job is given the next ones before it asks, so that it never waits for the driver; a long
job is never given ahead (`batching.Lookahead`). The first job that a lost session held is taken for the one that it
was running, and comes back `lost`: the driver counts its attempts. The others were never started and go to the next
session as if nothing had happened. All methods run in one thread, the channel server's.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable

from spark_nas.engines.batching import Lookahead
from spark_nas.engines.channel.dealing import Dealer
from spark_nas.engines.channel.frames import ChannelError, Message
from spark_nas.engines.channel.parcels import parcels
from spark_nas.engines.channel.records import Arrival, Ending, Fleet, Limbo, Line, SessionState, Terms
from spark_nas.engines.channel.resting import Rests
from spark_nas.engines.worker import Assignment
from spark_nas.errors import ClusterLost
from spark_nas.search.records import JobKey

_TICK_SECONDS = 0.25
_POST_MORTEM_SECONDS = 3.0
"""How long a lost job waits for Spark to say why its session died."""
_BARREN_DEATHS = 8
"""Sessions that may end by an error without ever having come, one after the other, and no job done between."""


class Dispatcher:
    """The queue, the sessions, and what each of them holds; `server.Handler` for the channel."""

    def __init__(
        self,
        slots: int,
        terms: Terms,
        lookahead: Lookahead,
        fleet: Fleet,
        arrived: Callable[[Arrival | Exception], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`arrived` takes every result once, and an exception when no session can run a job any more."""
        self._slots, self._terms, self._lookahead, self._fleet = slots, terms, lookahead, fleet
        self._arrived, self._clock = arrived, clock
        self._queue: deque[Assignment] = deque()
        self._alive: set[int] = set()
        self._met: dict[int, int] = {}
        """Of those alive that have come: which attempt of Spark's at their task was the last to."""
        self._launched = self._barren = 0
        self._sessions: dict[int, SessionState] = {}
        self._lines: dict[Line, SessionState] = {}
        self._rests = Rests()
        self._dealer = Dealer(self._queue, lookahead, self._rests, terms.lease_seconds, clock)
        self._limbo: dict[int, Limbo] = {}
        self._due = self._patrolled = 0.0
        self._changed = self._finishing = self._greeted = False
        self._gathering: float | None = math.inf if terms.gather_seconds else None
        """Until when the first jobs wait for more sessions; None: no longer."""

    def submit(self, assignments: Iterable[Assignment]) -> None:
        """Hand out more jobs, in this order."""
        self._queue.extend(assignments)
        self._changed = True

    def finish(self) -> None:
        """Hand out no more; send every session home, by force where it is at a job."""
        self._finishing = True
        self._queue.clear()
        for session in list(self._sessions.values()):  # one that is gone leaves with what is sent to it
            self._dismiss(session)
            if session.held:
                self._fleet.cancel(session.number)

    def ended(self, ending: Ending) -> None:
        """The Spark job of a session is over."""
        number = ending.number
        self._alive.discard(number)
        came = self._met.pop(number, None) is not None
        self._changed = True
        if isinstance(ending.remedy, ClusterLost) and not self._finishing:
            # Before the job that the session held: it is not lost by its own doing, and none will run any more.
            self._arrived(ending.remedy)
            self._finishing = True
            self._queue.clear()
        if (session := self._sessions.get(number)) is not None:
            session.line.close(ending.reason)
        if number in self._limbo:
            self._give_up(number, ending.reason)
        elif ending.remedy is not None and not came and not self._finishing:
            self._barren += 1
            if self._barren > _BARREN_DEATHS or (ending.hopeless and not self._greeted):
                self._arrived(ending.remedy)

    # -------------------------------------------------------------------------------- what the server tells

    def opened(self, peer: Line) -> None:
        """A connection with proof; its session is known with its first message."""

    def received(self, peer: Line, message: Message) -> None:
        """A message of a session. Raises ChannelError, KeyError, TypeError or ValueError for one out of place."""
        kind, now = message["type"], self._clock()
        if kind == "hello":
            self._greet(peer, int(message["session"]), int(message["attempt"]), str(message["where"]), now)
            return
        session = self._lines.get(peer)
        if session is None:
            raise ChannelError(f"a {str(kind)[:20]!r} before the hello, or after the session's end")
        session.heard = now
        if kind == "done":
            (trial_id, rung), seconds = message["key"], float(message["seconds"])
            if not 0 <= seconds < math.inf:
                raise ValueError(f"a job took {seconds} s")
            key, lost = JobKey(int(trial_id), int(rung)), bool(message.get("lost"))
            self._done(session, key, seconds, str(message["result"]), lost=lost)
            if message.get("last"):
                session.leaving = True
                self._take_back(session, len(session.held))
        elif kind == "returned":
            session.recalled = False
            self._take_back(session, int(message["count"]))
        elif kind == "ping":
            session.line.send({"type": "pong"})

    def closed(self, peer: Line, reason: str) -> None:
        """A connection is gone, and with it the session, unless Spark starts its task again."""
        session = self._lines.get(peer)
        if session is None:
            return
        self._forget(session)
        self._take_back(session, len(session.held) - 1)
        for assignment, _ in session.held.values():
            number, until = session.number, self._clock() + _POST_MORTEM_SECONDS
            self._limbo[number] = Limbo(assignment, session.where, reason, until)
            if number not in self._alive:
                self._give_up(number, reason)

    def tick(self) -> float:
        """Hand out what can be handed out, do what is due; returns the seconds until something may be due."""
        now = self._clock()
        if self._changed or (self._gathering is not None and now >= self._gathering):
            self._changed = False
            if self._is_gathered(now):
                self._deal()
            self._ensure()
        if now >= self._due:
            self._due = now + _TICK_SECONDS
            self._patrol(now)
        return 0.0 if self._changed else self._due - now

    # ------------------------------------------------------------------------------------------- the rest

    def _greet(self, line: Line, number: int, attempt: int, where: str, now: float) -> None:
        if line in self._lines or number not in self._alive:
            raise ChannelError(f"no session {number} is expected")
        if attempt < self._met.get(number, 0):
            raise ChannelError(f"Spark has started the task of session {number} again since")
        if (older := self._sessions.get(number)) is not None:
            older.line.close("Spark started its task again")
        if number in self._limbo:
            self._give_up(number, "Spark started its task again")
        session = SessionState(number, line, where, begun=now, heard=now, moved=now)
        self._met[number] = attempt
        self._sessions[number] = self._lines[line] = session
        self._changed = self._greeted = True
        if self._gathering == math.inf:
            self._gathering = now + self._terms.gather_seconds
        if self._finishing:
            self._dismiss(session)

    def _done(self, session: SessionState, key: JobKey, seconds: float, result: str, *, lost: bool) -> None:
        # A key that the session does not hold: it was late, and the job is somebody else's now.
        if key not in session.held:
            return
        assignment, expected = session.held.pop(key)
        session.load = session.load - expected if session.held else 0.0
        session.moved = self._clock()
        self._barren = 0
        self._changed = True
        if lost:  # how long that took says nothing
            self._rests.lost(session.number, key, session.moved)
            self._recall(session, len(session.held))
        else:
            self._rests.worked(session.number, key)
            self._lookahead.observe(key.rung, seconds)
        self._arrived(Arrival(assignment, result))  # last: the driver's next question goes by what was learnt

    def _take_back(self, session: SessionState, count: int) -> None:
        """The last `count` jobs of a session were not started: they are the next to be handed out."""
        for _ in range(min(count, len(session.held))):
            assignment, expected = session.held.popitem()[1]
            session.load -= expected
            if not self._finishing:
                self._queue.appendleft(assignment)
        self._changed = True

    def _give_up(self, number: int, reason: str) -> None:
        """The job that a lost session was at is lost with it."""
        assignment, where, first, _ = self._limbo.pop(number)
        why = reason if reason == first else f"{first}; {reason}"
        self._arrived(Arrival(assignment, None, f"its worker session ({where}) ended: {why}"))

    def _forget(self, session: SessionState) -> None:
        del self._sessions[session.number], self._lines[session.line]
        self._rests.forget(session.number)
        self._changed = True

    def _dismiss(self, session: SessionState) -> None:
        if not session.leaving:
            session.leaving = True
            session.line.send({"type": "end"})

    def _recall(self, session: SessionState, count: int) -> None:
        if count > 0 and not session.recalled:
            session.recalled = True
            session.line.send({"type": "recall", "count": count})

    def _is_gathered(self, now: float) -> bool:
        """Whether jobs may be handed out: the sessions that were started first have come, or have had their time."""
        if self._gathering is not None and (
            now >= self._gathering or (self._greeted and self._met.keys() >= self._alive)
        ):
            self._gathering = None
        return self._gathering is None

    def _deal(self) -> None:
        hands, refused = self._dealer.deal(self._sessions.values())
        for arrival in refused:
            self._arrived(arrival)
        for session, jobs in hands.items():
            for message in parcels(jobs):
                session.line.send(message)

    def _ensure(self) -> None:
        """Start as many sessions as there is work for, and slots."""
        work = len(self._queue) + sum(len(session.held) for session in self._sessions.values())
        # One that was connected and is not any more may come back, when Spark starts its task again, or may not.
        coming = len(self._alive.difference(self._met))
        staying = coming + sum(not session.leaving for session in self._sessions.values())
        while not self._finishing and staying < min(work, self._slots) and len(self._alive) < self._slots:
            self._launched += 1
            staying += 1
            self._alive.add(self._launched)
            self._fleet.launch(self._launched)

    def _patrol(self, now: float) -> None:
        """What nobody tells: silence, idleness, the end of a lease, a session stuck at a job, a death unexplained."""
        deaf = now - self._patrolled > 2 * _TICK_SECONDS + self._terms.silence_seconds / 4
        self._patrolled = now
        for session in list(self._sessions.values()):
            if deaf:  # this process was stopped, or starved: that is no silence of theirs
                session.heard = now
            if now - session.heard > self._terms.silence_seconds:
                session.line.close(f"silent for {self._terms.silence_seconds:g} s")
                self._fleet.cancel(session.number)
            elif not session.held and (
                self._dealer.is_expired(session) or now - max(session.moved, session.begun) >= self._terms.idle_seconds
            ):
                self._dismiss(session)
        for number in [number for number, limbo in self._limbo.items() if now >= limbo.until]:
            self._give_up(number, self._limbo[number].reason)
        if self._rests.over(now):
            self._changed = True
        idle = any(not s.held and self._dealer.has_room(s) for s in self._sessions.values())
        if idle and self._dealer.is_empty():
            for session in list(self._sessions.values()):
                if self._dealer.is_stuck(session):
                    self._recall(session, len(session.held) - 1)
