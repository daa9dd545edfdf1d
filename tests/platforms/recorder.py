"""A real HTTP server on this machine that keeps what clients ask of it and answers what it was told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Recorder:
    """What was asked so far, and where."""

    url: str
    asked: list[tuple[str, str, Any, Mapping[str, str]]] = field(default_factory=list)
    """(method, path without its query, body read as JSON or else text, headers)."""


@contextmanager
def recorder(answers: Mapping[tuple[str, str], tuple[int, Any]]) -> Iterator[Recorder]:
    """Serve `(method, path) -> (status, JSON)` until the block ends; anything else is a 404."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            try:
                body = json.loads(content)
            except ValueError:
                body = content
            path = self.path.partition("?")[0]
            recorded.asked.append((self.command, path, body, dict(self.headers)))
            status, said = answers.get((self.command, path), (404, {"error_code": "NOT_FOUND", "message": "no"}))
            reply = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_POST = do_PUT = answer

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    recorded = Recorder(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield recorded
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
