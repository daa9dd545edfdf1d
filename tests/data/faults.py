"""A proxy before an S3 endpoint that answers 503 SlowDown, resets connections, and lets the rest through."""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


@dataclass
class Faults:
    """What became of each request, in order."""

    endpoint: str
    seen: list[str] = field(default_factory=list)


@contextmanager
def faulty(endpoint: str, fault: Callable[[int], str]) -> Iterator[Faults]:
    """The proxy; `fault(n)` says what becomes of request n (from 0): "slow down", "reset" or "pass"."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            with lock:
                what = fault(len(faults.seen))
                faults.seen.append(what)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if what == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
                self.close_connection = True
            elif what == "slow down":
                headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(SLOW_DOWN)))]
                self.answer(503, headers, SLOW_DOWN)
            else:
                self.forward(body)

        do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

        def forward(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(urlsplit(endpoint).netloc)
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            reply = connection.getresponse()
            content = reply.read()
            kept = [(n, v) for n, v in reply.getheaders() if n.lower() not in ("transfer-encoding", "connection")]
            if not reply.getheader("Content-Length"):
                kept.append(("Content-Length", str(len(content))))
            connection.close()
            self.answer(reply.status, kept, content)

        def answer(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A connection that was reset on purpose."""

    server = Server(("127.0.0.1", 0), Handler)
    faults = Faults(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield faults
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
