"""What the tests of the channel share: a handler that writes down what it is told, and a client made by hand."""

from __future__ import annotations

import os
import queue
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from spark_nas.engines.channel.frames import Message, Sealed
from spark_nas.engines.channel.handshake import ClientHandshake
from spark_nas.engines.channel.server import Peer, Server

KEY = b"k" * 32


class Recorder:
    """A handler that answers each message with a copy of it, and keeps all events."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[object, ...]] = queue.Queue()
        self.peers: list[Peer] = []

    def opened(self, peer: Peer) -> None:
        self.peers.append(peer)
        self.events.put(("opened",))

    def received(self, peer: Peer, message: Message) -> None:
        self.events.put(("received", message))
        peer.send({"echo": message})

    def closed(self, peer: Peer, reason: str) -> None:
        self.events.put(("closed", reason))

    def tick(self) -> float:
        return 1.0

    def next(self) -> tuple[object, ...]:
        """The next event, in the order of happening."""
        return self.events.get(timeout=10)


@contextmanager
def serving(
    handler: Recorder | None = None, key: bytes = KEY, handshake_seconds: float = 5.0, max_unproved: int = 64
) -> Iterator[tuple[Server, Recorder]]:
    """A server on loopback."""
    handler = handler or Recorder()
    server = Server("127.0.0.1", 0, key, handler, handshake_seconds=handshake_seconds, max_unproved=max_unproved)
    try:
        yield server, handler
    finally:
        server.close()


@contextmanager
def connected(server: Server) -> Iterator[socket.socket]:
    """A bare connection to it."""
    with socket.create_connection(server.address, timeout=10) as connection:
        yield connection


class Wire:
    """An authenticated connection made step by step."""

    def __init__(
        self, connection: socket.socket, key: bytes = KEY, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self.socket = connection
        handshake = ClientHandshake(key)
        self.said: list[bytes] = []
        while handshake.opened is None:
            data = connection.recv(4096)
            if not data:
                raise ConnectionResetError("closed during the handshake")
            if answer := handshake.step(data):
                self.said.append(answer)
                connection.sendall(answer)
        self.sealed: Sealed = handshake.opened

    def send(self, message: Message) -> None:
        self.socket.sendall(self.sealed.pack(message))

    def messages(self, count: int) -> list[Message]:
        """The next messages; raises ConnectionResetError when the connection ends first."""
        found: list[Message] = []
        while len(found) < count:
            data = self.socket.recv(2**18)
            if not data:
                raise ConnectionResetError("closed")
            found += self.sealed.unpack(data)
        return found


def ended(connection: socket.socket) -> bool:
    """Read until the other side ends the connection; False when it does not within the time-out."""
    try:
        while connection.recv(2**18):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True
