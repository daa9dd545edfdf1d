"""How a search ends in order before its work is done: on SIGTERM, or when its time is up.

In a notebook also when its cell is interrupted.
"""

from __future__ import annotations

import argparse
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import FrameType

from spark_nas.errors import OptionError, Unfinished

_INTERRUPTED = "interrupted"
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

    Inside the block, the first SIGTERM is a reason; a second one ends the process as if nobody had listened. If it is
    `interruptible`, so is the first SIGINT (what the stop button of a notebook sends); a second one ends the block by
    KeyboardInterrupt. One job of an engine in this process may take hours: what still runs in the block `grace`
    seconds and a little more after there was a reason is interrupted, and the block raises Unfinished (after a SIGINT
    KeyboardInterrupt).
    """

    _LATER = 30.0
    """Seconds after `grace` in which a search that hears of it has ended by itself."""

    def __init__(
        self,
        *,
        time_budget: float | None = None,
        grace: float = 60.0,
        interruptible: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`time_budget` in seconds from now; `grace`: seconds that jobs in flight may take after there is a reason."""
        if time_budget is not None and not time_budget > 0:
            raise OptionError("time_budget", time_budget, "give seconds greater than 0, or leave it out")
        self._clock = clock
        self._time_budget, self._until = time_budget, None if time_budget is None else clock() + time_budget
        self.grace, self._interruptible = grace, interruptible
        self._heard: str | None = None
        self._note: str | None = None
        self._before: dict[int, object] = {}
        self._last_call: threading.Timer | None = None
        self._cut = False

    def reason(self) -> str | None:
        """Why to stop now."""
        if self._note is not None:  # not in the handler: whoever was interrupted may have been printing
            print(self._note, flush=True)
            self._note = None
        if self._heard is None and self._until is not None and self._clock() >= self._until:
            self._heard = f"its time of {self._time_budget:g} s is up"
        return self._heard

    def check(self) -> None:
        """Raise Unfinished when there is a reason to stop, where no job has been handed out yet."""
        if (reason := self.reason()) is not None:
            raise Unfinished(f"stopped ({reason}) before it handed out any job; the same command continues")

    def sleep(self, seconds: float) -> None:
        """Wait, then `check`."""
        time.sleep(seconds)
        self.check()

    def __enter__(self) -> Ending:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._handle(signal.SIGTERM, self._terminate)
            if self._interruptible or signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's `&` leaves it
                self._handle(signal.SIGINT, self._interrupt)
            if self._time_budget is not None:
                self._end_after(self._time_budget + self.grace)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._last_call is not None:
            self._last_call.cancel()
        while self._before:
            signal.signal(*self._before.popitem())  # type: ignore[arg-type]
        if self._cut and kind is KeyboardInterrupt and (reason := self.reason()) not in (None, _INTERRUPTED):
            words = f"stopped ({reason}): a job in this process was cut off, as it went on after {self.grace:g} s"
            raise Unfinished(f"{words}; the same command continues") from None

    def _handle(self, number: int, handler: Callable[[int, FrameType | None], object]) -> None:
        self._before[number] = signal.signal(number, handler)

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._heard = "SIGTERM"
        signal.signal(number, signal.SIG_DFL)
        self._end_after(self.grace)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._cut:
            signal.default_int_handler(number, frame)
        if not self._interruptible:
            return
        self._heard = _INTERRUPTED
        self._note = f"interrupted: jobs in flight may take {self.grace:g} s more; interrupt again to end at once"
        signal.signal(number, signal.default_int_handler)
        self._end_after(self.grace)

    def _end_after(self, seconds: float) -> None:
        if self._last_call is not None:
            self._last_call.cancel()
        self._last_call = threading.Timer(seconds + self._LATER, self._cut_off, (threading.get_ident(),))
        self._last_call.daemon = True
        self._last_call.start()

    def _cut_off(self, thread: int) -> None:
        # A signal and not `_thread.interrupt_main`, which a call that waits would not notice before it returns.
        self._cut = True
        signal.pthread_kill(thread, signal.SIGINT)


def _time(text: str) -> float:
    try:
        return seconds_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
