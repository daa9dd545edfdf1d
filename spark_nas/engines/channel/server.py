"""The driver's end of the channel: one listener and one thread for all connections; knows nothing of jobs.

Whoever has not proved that it knows the key gets a fixed short time, a bounded number of places (the oldest makes
room) and no parsing. After that every message goes to a `Handler`, in the server's own thread, which is therefore the
only one that touches the handler's state: others hand work in with `call`.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Protocol

from spark_nas.engines.channel.frames import ChannelError, Message, Sealed
from spark_nas.engines.channel.handshake import ServerHandshake

_READ_BYTES = 2**18
_ACCEPTS = 32
"""Connections accepted in one turn, lest a flood of them starve those at work."""
_BACKLOG = 256
_BREATH_SECONDS = 0.5
"""How long the listener is left alone when it could accept no connection: it is ready all the while."""
_log = logging.getLogger(__name__)


class Handler(Protocol):
    """What the server tells of its connections. All methods are called in the server's thread."""

    def opened(self, peer: Peer) -> None:
        """A client has proved that it knows the key."""
        ...

    def received(self, peer: Peer, message: Message) -> None:
        """A message; what this raises as ChannelError, KeyError, TypeError or ValueError ends the connection."""
        ...

    def closed(self, peer: Peer, reason: str) -> None:
        """An authenticated connection has ended, by whichever side. Called once for each `opened`."""
        ...

    def tick(self) -> float:
        """Do what time demands; returns the seconds after which to be called again at the latest."""
        ...


class Peer:
    """One connection. Everything but `address` belongs to the server's thread."""

    def __init__(self, server: Server, connection: socket.socket, handshake: ServerHandshake, deadline: float) -> None:
        self._server, self.socket, self.handshake, self.deadline = server, connection, handshake, deadline
        self.sealed: Sealed | None = None
        """The authenticated stream; None until the client has proved itself."""
        self.out = bytearray(handshake.greeting)
        self.gone = False

    def send(self, message: Message) -> None:
        """Queue a message. Nothing happens when the connection has ended: `closed` tells or has told."""
        if self.sealed is not None and not self.gone:
            self.out += self.sealed.pack(message)
            self._server.flush(self)

    def close(self, reason: str) -> None:
        """End the connection."""
        self._server.drop(self, reason)


class Server:
    """Listens from construction to `close`."""

    def __init__(
        self,
        host: str,
        port: int,
        key: bytes,
        handler: Handler,
        *,
        handshake_seconds: float = 5.0,
        max_unproved: int = 64,
    ) -> None:
        """Raises OSError when the address cannot be bound. `port` 0 takes any free one."""
        self._key, self._handler = key, handler
        self._handshake_seconds, self._max_unproved = handshake_seconds, max_unproved
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.address: tuple[str, int] = self._listener.getsockname()[:2]
        """Where it listens: the host's address, and the port."""
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._unproved: OrderedDict[Peer, None] = OrderedDict()
        self._proved: set[Peer] = set()
        self._calls: deque[Callable[[], None]] = deque()
        self._deaf_until: float | None = None
        """When to listen again; None while listening."""
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="spark-nas-channel", daemon=True)
        self._thread.start()

    def call(self, function: Callable[[], None]) -> None:
        """Have `function` run in the server's thread, soon. Any thread may call this."""
        self._calls.append(function)
        # A full pipe wakes just as well, and after `close` nobody listens.
        with contextlib.suppress(OSError):
            self._wake_write.send(b"\0")

    def close(self) -> None:
        """End all connections and the thread; their `closed` is called. Idempotent."""
        self._closing = True
        self.call(lambda: None)
        self._thread.join()

    def flush(self, peer: Peer) -> None:
        """Write what waits, as far as the connection takes it. Server's thread only."""
        try:
            if peer.out:
                sent = peer.socket.send(peer.out)
                del peer.out[:sent]
        except BlockingIOError:
            pass
        except OSError as error:
            self.drop(peer, f"connection lost: {error}")
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.out else 0)
        if self._selector.get_key(peer.socket).events != events:
            self._selector.modify(peer.socket, events, peer)

    def drop(self, peer: Peer, reason: str) -> None:
        """End a connection, and tell the handler if it was authenticated. Server's thread only."""
        if peer.gone:
            return
        peer.gone = True
        self._selector.unregister(peer.socket)
        peer.socket.close()
        self._unproved.pop(peer, None)
        if peer in self._proved:
            self._proved.discard(peer)
            self._handler.closed(peer, reason)

    def _run(self) -> None:
        while not self._closing:
            try:
                self._turn()
            except Exception:  # the search must not end, nor hang, for one turn's fault
                _log.exception("the channel's thread goes on after an error")
        for peer in [*self._unproved, *self._proved]:
            self.drop(peer, "the driver ends")
        for end in (self._listener, self._wake_read, self._wake_write):
            end.close()
        self._selector.close()

    def _turn(self) -> None:
        for selected, events in self._selector.select(self._patience()):
            if selected.fileobj is self._listener:
                self._accept()
            elif selected.fileobj is self._wake_read:
                with contextlib.suppress(BlockingIOError):
                    while self._wake_read.recv(4096):
                        pass
            elif not selected.data.gone:
                self._serve(selected.data, events)
        while self._calls:
            self._calls.popleft()()

    def _patience(self) -> float:
        """Do what is due; how long to sleep at most."""
        now = time.monotonic()
        while self._unproved and (oldest := next(iter(self._unproved))).deadline <= now:
            self.drop(oldest, "no proof in time")
        if self._deaf_until is not None and self._deaf_until <= now:
            self._deaf_until = None
            self._selector.register(self._listener, selectors.EVENT_READ)
        patience = self._handler.tick()
        if self._unproved:
            patience = min(patience, next(iter(self._unproved)).deadline - now)
        if self._deaf_until is not None:
            patience = min(patience, self._deaf_until - now)
        return 0.0 if self._calls else max(0.0, patience)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no file descriptors left, say: make room, and try again after a while
                _log.warning("the channel cannot accept a connection: %s", error)
                self._make_room(0)
                self._selector.unregister(self._listener)
                self._deaf_until = time.monotonic() + _BREATH_SECONDS
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            self._make_room(self._max_unproved - 1)
            peer = Peer(self, connection, ServerHandshake(self._key), time.monotonic() + self._handshake_seconds)
            self._unproved[peer] = None
            self._selector.register(connection, selectors.EVENT_READ, peer)
            self.flush(peer)

    def _make_room(self, most: int) -> None:
        while len(self._unproved) > most:
            self.drop(next(iter(self._unproved)), "too many connections without proof")

    def _serve(self, peer: Peer, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self.flush(peer)
        if peer.gone or not events & selectors.EVENT_READ:
            return
        try:
            data = peer.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self.drop(peer, f"connection lost: {error}")
            return
        if not data:
            self.drop(peer, "connection closed")
            return
        try:
            self._take(peer, data)
        except (ChannelError, KeyError, TypeError, ValueError) as error:
            self.drop(peer, f"{type(error).__name__}: {error}")

    def _take(self, peer: Peer, data: bytes) -> None:
        """Bytes of a connection. Raises ChannelError, or what the handler raises."""
        if peer.sealed is None:
            step = peer.handshake.step(data)
            if step is None:
                return
            answer, peer.sealed = step
            del self._unproved[peer]
            self._proved.add(peer)
            self._handler.opened(peer)
            peer.out += answer
            self.flush(peer)
            data = b""
        for message in peer.sealed.unpack(data):
            if peer.gone:
                return
            self._handler.received(peer, message)
