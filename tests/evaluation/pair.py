"""Two processes that train together: this one, which is measured and is rank 0, and one beside it."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import torch

from spark_nas.evaluation.group import join

Part = Callable[..., Any]
"""What each of the two does: called with `Peers` and the arguments, which travel by pickle, as its answer does."""


class Pair:
    """Runs a function in both processes, joined for as long as it takes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def run(self, part: Part, *args: object) -> tuple[Any, Any]:
        """Both answers, this process's first; an exception is an answer."""
        return self._both(_joined, part, args)

    def launch(self, part: Part, *args: object, rank: int = 0) -> tuple[Any, Any]:
        """The same of a function without `Peers`, which joins by itself as its environment says; this one as `rank`."""
        return self._both(_launched, part, args, rank)

    def _both(self, how: Callable[..., Any], part: Part, args: tuple[object, ...], rank: int = 0) -> tuple[Any, Any]:
        port = free_port()
        self._connection.send((how, 1 - rank, port, part, args))
        mine = how(rank, port, part, args)
        return mine, self._connection.recv()


@contextmanager
def pair() -> Iterator[Pair]:
    """The other process, until the block ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    try:
        yield Pair(here)
    finally:
        here.send(None)
        process.join(20)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def launched(rank: int, port: int, size: int = 2) -> dict[str, str]:
    """What a launcher puts into the environment of a process of a group."""
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def _joined(rank: int, port: int, part: Part, args: tuple[object, ...]) -> Any:  # noqa: ANN401
    def join_first() -> Any:  # noqa: ANN401
        with join(torch.device("cpu")) as peers:
            return part(peers, *args)

    return _launched(rank, port, join_first, ())


def _launched(rank: int, port: int, part: Part, args: tuple[object, ...]) -> Any:  # noqa: ANN401
    with patch.dict(os.environ, launched(rank, port)):
        try:
            return part(*args)
        except Exception as error:
            return error


def _serve(connection: Connection) -> None:
    torch.set_num_threads(1)
    while (order := connection.recv()) is not None:
        how, rank, port, part, args = order
        connection.send(how(rank, port, part, args))
