"""Ports for servers that cannot be told to take any free one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reserved_port() -> Iterator[int]:
    """A TCP port of the loopback address for one server of ours: within the block the system gives it to nobody else.

    A port that is looked for, let go and then used may be somebody else's by then. This one stays bound, without
    anybody listening; a server that sets SO_REUSEADDR, as most do, may listen on it all the same.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])
