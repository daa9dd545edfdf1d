"""A server in a process without a file descriptor left: how often it complains in a second, and whether it recovers.

The program of test_server's; prints both.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import time

from tests.engines.channel.wires import Wire, serving


def main() -> None:
    """Take all descriptors, let a client come, give them back."""
    complaints: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("spark_nas.engines.channel.server").addHandler(handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    with serving() as (server, _), socket.socket() as client:
        taken = []
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        client.connect(server.address)
        began = time.process_time()
        time.sleep(1.0)
        print("COMPLAINTS", len(complaints), "CPU", time.process_time() - began)
        for number in taken:
            os.close(number)
        Wire(client).send({"n": 1})
        print("RECOVERED")


if __name__ == "__main__":
    main()
