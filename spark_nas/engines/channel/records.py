"""What the dispatcher, the engine and the Spark jobs of sessions tell one another: values and small interfaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from spark_nas.engines.channel.frames import Message
from spark_nas.engines.worker import Assignment
from spark_nas.search.records import JobKey


class Line(Protocol):
    """The connection of one session, as `server.Peer` is."""

    def send(self, message: Message) -> None:
        """Queue a message."""
        ...

    def close(self, reason: str) -> None:
        """End the connection; `Dispatcher.closed` follows."""
        ...


class Fleet(Protocol):
    """Who starts the Spark jobs of sessions."""

    def launch(self, number: int) -> None:
        """Start session `number`; `Dispatcher.ended` follows some time."""
        ...

    def cancel(self, number: int) -> None:
        """Cancel its Spark job."""
        ...


@dataclass(frozen=True)
class Terms:
    """How long a session may keep its slot."""

    idle_seconds: float = 60.0
    lease_seconds: float | None = None
    silence_seconds: float = 60.0
    gather_seconds: float = 0.0
    """The first jobs wait for sessions that are starting, at most so long after the first of them is there: a search
    of short jobs would else be over, or unevenly shared, before Python has started everywhere."""


class Arrival(NamedTuple):
    """What came of an assignment."""

    assignment: Assignment
    result: str | None
    """Its JSON; None for a lost job."""
    reason: str = ""
    """Why it was lost."""


class Ending(NamedTuple):
    """How the Spark job of a session came to its end."""

    number: int
    reason: str = "its Spark job ended"
    remedy: Exception | None = None
    """Set after an error: what to raise when sessions go on ending so without having run a job; at once if it is
    ClusterLost."""
    hopeless: bool = False
    """Whether no second try will mend it, if no session has ever worked."""


@dataclass(eq=False)
class SessionState:
    """What the driver knows of a connected session."""

    number: int
    line: Line
    where: str
    begun: float
    heard: float
    moved: float
    """When it last sent a result, or was given the job it is at."""
    held: dict[JobKey, tuple[Assignment, float]] = field(default_factory=dict)
    """What it was given, in order, with the seconds each is expected to take; the first is the one it is at."""
    load: float = 0.0
    """Seconds of what it holds."""
    recalled: bool = False
    """Whether it was asked to give back what it has not started, and has not answered."""
    leaving: bool = False
    """Whether it was told to end."""


class Limbo(NamedTuple):
    """A job whose session is gone, for a reason that Spark may still tell."""

    assignment: Assignment
    where: str
    reason: str
    until: float
