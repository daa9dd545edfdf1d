"""A TCP relay, as a network between workers and their driver: it may stall, and go on, and lead elsewhere."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Relay:
    """Passes on what comes, in both directions, and the ends of connections; while it is stalled, it keeps all that."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        """Where connections that are still to come lead."""
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stall(self) -> None:
        """From here on nothing arrives."""
        self._flowing.clear()

    def resume(self) -> None:
        """What was kept arrives, in order."""
        self._flowing.set()

    def close(self) -> None:
        """End everything."""
        self.resume()
        for end in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listener, *self._open):
            end.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.append(near)
                far = socket.create_connection(self.target, timeout=10)
                far.settimeout(None)
                self._open.append(far)
                for ends in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=ends)
                    self._threads.append(thread)
                    thread.start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(2**16):
                self._flowing.wait()
                sink.sendall(data)
        self._flowing.wait()
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)


@contextmanager
def relaying(target: tuple[str, int]) -> Iterator[Relay]:
    """A relay to `target`, for as long as the block lasts."""
    relay = Relay(target)
    try:
        yield relay
    finally:
        relay.close()
