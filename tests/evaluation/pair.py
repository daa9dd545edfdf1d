"""Two processes that train together: this one, which is measured and is rank 0, and one beside it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any
from unittest.mock import patch

import torch

from spark_nas.evaluation.group import join
from tests.ports import reserved_port

Part = Callable[..., Any]
"""What each of the two does: called with `Peers` and the arguments, which travel by pickle, as its answer does."""


class Pair:
    """Runs a function in both processes, joined for as long as it takes."""

    def __init__(self) -> None:
        self._start()

    def run(self, part: Part, *args: object) -> tuple[Any, Any]:
        """Both answers, this process's first; an exception is an answer."""
        return self._both(_joined, part, args)

    def launch(self, part: Part, *args: object, rank: int = 0) -> tuple[Any, Any]:
        """The same of a function without `Peers`, which joins by itself as its environment says; this one as `rank`."""
        return self._both(_launched, part, args, rank)

    def end(self, seconds: float = 20.0) -> None:
        """End the other process, in order within so many seconds or else by force."""
        with suppress(OSError):  # it is dead already
            self._connection.send(None)
        self._process.join(seconds)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()

    def _both(self, how: Callable[..., Any], part: Part, args: tuple[object, ...], rank: int = 0) -> tuple[Any, Any]:
        try:
            with reserved_port() as port:
                self._connection.send((how, 1 - rank, port, part, args))
                mine = how(rank, port, part, args)
                return mine, self._connection.recv()
        except BaseException:  # the other may be in the middle of it: what it says next is no answer to anything
            self.end(0)
            self._start()
            raise


@contextmanager
def pair() -> Iterator[Pair]:
    """The other process, until the block ends."""
    running = Pair()
    try:
        yield running
    finally:
        running.end()


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
