"""How a command ends in order before its work is done: on SIGTERM, when its time is up, or when its lease is lost."""

from __future__ import annotations

import argparse
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType

from spark_nas.errors import OptionError

_TIME = re.compile(r"(?:(?P<h>\d+)h)?(?:(?P<m>\d+)m)?(?:(?P<s>\d+)s?)?")


def seconds_of(text: str) -> float:
    """The seconds of `5h30m`, `90m`, `45s` or a plain number of seconds. Raises ValueError for anything else.

    >>> [seconds_of(text) for text in ("5h30m", "90m", "45s", "45")]
    [19800.0, 5400.0, 45.0, 45.0]
    """
    match = _TIME.fullmatch(text)
    if not text or match is None:
        raise ValueError(f"{text!r}: give a time such as 5h30m, 90m or 45s")
    hours, minutes, seconds = (int(match[unit] or 0) for unit in "hms")
    total = 3600 * hours + 60 * minutes + seconds
    if total == 0:
        raise ValueError(f"{text!r}: give a time greater than 0")
    return float(total)


def add_ending_arguments(parser: argparse.ArgumentParser) -> None:
    """--time-budget, --grace."""
    parser.add_argument(
        "--time-budget",
        type=_time,
        metavar="TIME",
        help="end in order after so long (5h30m, 90m, 45s), with exit code 75: the same command continues",
    )
    parser.add_argument(
        "--grace",
        type=_time,
        default=60.0,
        metavar="TIME",
        help="how long jobs in flight may go on after SIGTERM or the time budget (default: 60s)",
    )


class Ending(AbstractContextManager["Ending"]):
    """Knows why to stop: `reason()` is None until there is one.

    Inside the block, the first SIGTERM is a reason; a second one ends the process as if nobody had listened.
    """

    def __init__(
        self,
        *,
        time_budget: float | None = None,
        watch: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`time_budget` in seconds from now; `watch` is asked for further reasons."""
        if time_budget is not None and not time_budget > 0:
            raise OptionError("time_budget", time_budget, "give seconds greater than 0, or leave it out")
        self._clock, self._watch = clock, watch
        self._time_budget, self._until = time_budget, None if time_budget is None else clock() + time_budget
        self._terminated = False
        self._before: object = None

    def reason(self) -> str | None:
        """Why to stop now."""
        if self._terminated:
            return "SIGTERM"
        if self._until is not None and self._clock() >= self._until:
            return f"its time of {self._time_budget:g} s is up"
        return self._watch()

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._before = signal.signal(signal.SIGTERM, self._terminate)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)  # type: ignore[arg-type]
            self._before = None

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._terminated = True
        signal.signal(number, signal.SIG_DFL)


def _time(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
