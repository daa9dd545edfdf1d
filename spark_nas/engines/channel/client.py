"""The worker's end of the channel: jobs come in ahead of their time, results go out without waiting for an answer.

The main thread of the Python worker runs jobs; a thread of the session reads, and says now and then that the session
is alive. A connection lost, for whatever reason, ends the session after the job it is at, which still commits to the
store: a driver that came back has sessions of its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import TracebackType

from spark_nas.engines.channel.frames import ChannelError, Message, Sealed
from spark_nas.engines.channel.handshake import ClientHandshake

_READ_BYTES = 2**18
_RETRY_SECONDS = 0.2
_BEATS = 4
"""Signs of life in the time after which silence means death."""


@dataclass(frozen=True)
class Door:
    """Where the channel is and what opens it. Travels in the closure of a session's task, and nowhere else."""

    host: str
    port: int
    key: bytes = field(repr=False)
    silence_seconds: float = 60.0
    """After so long without a sign of life the other side is taken for dead."""
    connect_seconds: float = 30.0
    """How long to try to connect."""

    @property
    def beat_seconds(self) -> float:
        """How often a session says that it is alive."""
        return self.silence_seconds / _BEATS


class Client:
    """One session's connection, as a context manager. Raises ChannelError when there is no getting through."""

    def __init__(self, door: Door, session: int, where: str, attempt: int = 0) -> None:
        """`attempt`: how often Spark has started this session's task before."""
        self._door = door
        self._socket, self._sealed = _connect(door)
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._jobs: deque[tuple[str, int]] = deque()
        self._ended = self._lost = False
        self._send({"type": "hello", "session": session, "attempt": attempt, "where": where})
        self._reader = threading.Thread(target=self._read, name="spark-nas-session", daemon=True)
        self._reader.start()

    def jobs(self) -> Iterator[tuple[str, int]]:
        """A job's JSON and its attempt, one at a time; blocks until there is more. Ends with the session."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._jobs or self._ended or self._lost)
                if self._lost or not self._jobs:
                    return
                job = self._jobs.popleft()
            yield job

    def deliver(
        self, key: tuple[int, int], seconds: float, result: str, *, lost: bool = False, last: bool = False
    ) -> bool:
        """Send a job's result (JSON); `seconds` is the wall time it took here. False when the connection is lost.

        After one that says that its job was `lost`, the session is given a rest. After the `last` it begins no job:
        those that it was given go to another.

        Raises ChannelError when the result is too long for a frame; another may be sent in its place.
        """
        marks = {name: True for name, holds in (("lost", lost), ("last", last)) if holds}
        return self._send({"type": "done", "key": key, "seconds": seconds, "result": result} | marks)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lose()
        self._reader.join()
        self._socket.close()

    def _read(self) -> None:
        heard = beat = time.monotonic()
        try:
            while not self._lost and time.monotonic() - heard < self._door.silence_seconds:
                with contextlib.suppress(TimeoutError):
                    data = self._socket.recv(_READ_BYTES)
                    if not data:
                        break
                    heard = time.monotonic()
                    for message in self._sealed.unpack(data):
                        self._take(message)
                if time.monotonic() - beat >= self._door.beat_seconds:
                    beat = time.monotonic()
                    self._send({"type": "ping"})
        except (OSError, ChannelError, KeyError, TypeError, ValueError):
            pass
        self._lose()

    def _take(self, message: Message) -> None:
        """React to a message of the driver, which has proved itself; unknown types are a later version's."""
        kind = message["type"]
        with self._changed:
            if kind == "jobs":
                self._jobs.extend((str(text), int(attempt)) for text, attempt in message["jobs"])
            elif kind == "end":
                self._ended = True
            self._changed.notify()
        if kind == "recall":
            self._give_back(int(message["count"]))

    def _give_back(self, count: int) -> None:
        """The driver wants back what has not been started, from the end."""
        with self._changed:
            back = [self._jobs.pop() for _ in range(min(count, len(self._jobs)))]
        self._send({"type": "returned", "count": len(back)})

    def _send(self, message: Message) -> bool:
        try:
            with self._sending:
                self._socket.sendall(self._sealed.pack(message))
        except OSError:
            self._lose()
        return not self._lost

    def _lose(self) -> None:
        with self._changed:
            self._lost = True
            self._changed.notify()
        with contextlib.suppress(OSError):  # lost already
            self._socket.shutdown(socket.SHUT_RDWR)


def _connect(door: Door) -> tuple[socket.socket, Sealed]:
    """Try until the door's time is over. Raises ChannelError; at once when the other side is no driver of ours."""
    deadline = time.monotonic() + door.connect_seconds
    while True:
        left = deadline - time.monotonic()
        try:
            connection = socket.create_connection((door.host, door.port), timeout=max(0.1, left))
            try:
                return connection, _prove(connection, door, deadline)
            except BaseException:
                connection.close()
                raise
        except OSError as error:
            if time.monotonic() + _RETRY_SECONDS >= deadline:
                where = f"{door.host}:{door.port}"
                raise ChannelError(f"no way to the driver's channel at {where}: {error}") from error
            time.sleep(_RETRY_SECONDS)


def _prove(connection: socket.socket, door: Door, deadline: float) -> Sealed:
    """The handshake. Raises OSError, or ChannelError when the other side proves nothing."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    handshake = ClientHandshake(door.key)
    while handshake.opened is None:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        data = connection.recv(_READ_BYTES)
        if not data:
            raise ConnectionResetError("the driver closed the connection during the handshake")
        if answer := handshake.step(data):
            connection.sendall(answer)
    connection.settimeout(door.beat_seconds)
    return handshake.opened
