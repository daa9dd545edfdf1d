"""An HTTP proxy before an S3 endpoint that does to a share of the requests what networks and stores do to them.

Which faults come follows a seed; which request meets which fault follows from who asks first.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from random import Random
from urllib.parse import urlsplit

FAULTS = ("error 500", "slow down 503", "conflict 409", "answer lost", "reset", "truncated", "late")
"""All of them; `conflict 409` befalls conditional writes only, `truncated` only answers that have a body."""
_ERRORS = {"error 500": (500, "InternalError"), "slow down 503": (503, "SlowDown")}
_CONFLICT = (409, "ConditionalRequestConflict")
_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection"}


@dataclass
class Plan:
    """Which fault the next request meets, if any."""

    share: float
    seed: int = 1
    faults: Sequence[str] = FAULTS
    delay: float = 2.0
    """Seconds by which a late answer is late."""
    done: Counter[str] = field(default_factory=Counter)
    """How often each fault came."""

    def __post_init__(self) -> None:
        self._rng, self._lock = Random(self.seed), threading.Lock()
        self._away_until = 0.0

    def go_away(self, seconds: float) -> None:
        """From now on and for so long every connection is reset: "away"."""
        self._away_until = time.monotonic() + seconds

    def next(self, *, conditional: bool) -> str | None:
        """A fault, or None."""
        with self._lock:
            if time.monotonic() < self._away_until:
                self.done["away"] += 1
                return "away"
            if self._rng.random() >= self.share:
                return None
            possible = [fault for fault in self.faults if conditional or fault != "conflict 409"]
            if not possible:
                return None
            fault = self._rng.choice(possible)
            self.done[fault] += 1
            return fault

    def spared(self, fault: str) -> None:
        """A fault that could not be done to that request after all."""
        with self._lock:
            self.done[fault] -= 1


@contextmanager
def faulty_proxy(endpoint: str, plan: Plan) -> Iterator[str]:
    """The URL of a proxy before `endpoint`, for as long as the block lasts."""
    upstream = urlsplit(endpoint).netloc

    class Handler(_Handler):
        pass

    Handler.plan, Handler.upstream = plan, upstream
    server = _Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections that break off are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    plan: Plan
    upstream: str

    def do_GET(self) -> None:
        body = self._body()
        fault = self.plan.next(conditional="If-None-Match" in self.headers)
        if fault in ("reset", "away"):
            return self._reset()
        if fault in _ERRORS:
            return self._refuse(*_ERRORS[fault])
        if fault == "conflict 409":
            return self._refuse(*_CONFLICT)
        if fault == "late":
            time.sleep(self.plan.delay)
        status, headers, content = self._forward(body)
        if fault == "answer lost":
            return self._reset()
        cut = fault == "truncated" and len(content) > 1
        if fault == "truncated" and not cut:
            self.plan.spared(fault)
        return self._answer(status, headers, content, cut=cut)

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    def _body(self) -> bytes:
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            chunks = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return b"".join(chunks)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in {*_HOP, "expect", "content-length"}}
            connection.request(self.command, self.path, body, {**headers, "Content-Length": str(len(body))})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _answer(self, status: int, headers: list[tuple[str, str]], content: bytes, *, cut: bool) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP and (name.lower() != "content-length" or self.command == "HEAD"):
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.wfile.flush()
        if cut:
            self._reset()

    def _refuse(self, status: int, code: str) -> None:
        content = (
            b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
        )
        self._answer(status, [("Content-Type", "application/xml")], content, cut=False)

    def _reset(self) -> None:
        """Close with a reset, not with an end."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""
