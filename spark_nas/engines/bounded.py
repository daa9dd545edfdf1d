"""A call that may hang, such as anything asked of a Spark that has just died: done in time, or left behind."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

T = TypeVar("T")


def bounded(call: Callable[[], T], seconds: float) -> T:
    """What `call` returns. Raises what it raises, or TimeoutError after `seconds`.

    It is then left to its thread, which does not keep the process from ending.

    >>> bounded(lambda: 1 + 1, seconds=5)
    2
    """
    outcome: SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((call(), None))
        except BaseException as error:  # whatever it is, it belongs to the caller
            outcome.put((None, error))

    Thread(target=run, daemon=True).start()
    try:
        value, error = outcome.get(timeout=seconds)
    except Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # a value stands where there is no error
