"""Ends a Spark Python worker whose job neither ends nor looks at its time.

`Workspace.check_time` works where the evaluator calls it. For a job stuck anywhere else there are two more lines,
each a grace later than the one before:

    limit            the evaluator's own check raises: a failed result, the worker lives on
    limit + grace    a thread commits a failed result, so that every retry finds it at once, then kills the process
    limit + 2 grace  the kernel's timer kills the process: native code that never gives the interpreter lock back
                     lets no thread of ours run. Nothing is committed: Spark and the driver try again, each as often
                     as it may

Killing is for processes that exist to run tasks. Where jobs run inside the driver (the local engine) there is no
watchdog: the search would die with its job.
"""

from __future__ import annotations

import contextlib
import faulthandler
import math
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import NoReturn

_STDERR = 2


def in_spark_worker() -> bool:
    """Whether this process is a Python worker in the middle of a Spark task."""
    if "pyspark" not in sys.modules:
        return False
    from pyspark import TaskContext

    return TaskContext.get() is not None


def guard(seconds: float | None, grace: float, last_words: Callable[[str], None]) -> AbstractContextManager[None]:
    """Watch over the code inside; without a limit (None, infinity) over nothing.

    When it is over time, `last_words` is called in another thread with where the code stands. Then, whatever came of
    that, the process is killed, unless the code has ended in the meantime.
    """
    return nullcontext() if seconds is None or math.isinf(seconds) else _guarded(seconds, grace, last_words)


@contextlib.contextmanager
def _guarded(seconds: float, grace: float, last_words: Callable[[str], None]) -> Iterator[None]:
    ended = threading.Event()
    watched = threading.get_ident()

    def watch() -> None:
        if ended.wait(seconds + grace):
            return
        try:
            last_words(_stack(watched))
        except BaseException:  # whatever it was, the job still hangs
            traceback.print_exc()
        if not ended.is_set():
            _die()

    thread = threading.Thread(target=watch, name="spark_nas watchdog", daemon=True)
    thread.start()
    try:
        with _alarm(seconds + 2 * grace):
            yield
    finally:
        ended.set()


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """The kernel kills this process in so many seconds, having printed where it stands; not if leaving in time."""
    # A timer or a handler that is there already is the evaluator's own: it stays.
    if signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL or signal.getitimer(signal.ITIMER_REAL)[0]:
        yield
        return
    with contextlib.suppress(OSError, RuntimeError, ValueError):  # no stderr: then it dies in silence
        faulthandler.register(signal.SIGALRM, file=_STDERR, all_threads=True, chain=True)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.unregister(signal.SIGALRM)


def _stack(thread: int) -> str:
    """Where a thread stands now, innermost call last."""
    frame = sys._current_frames().get(thread)
    return "".join(traceback.format_stack(frame)).rstrip() if frame is not None else "it has no Python frame"


def _die() -> NoReturn:
    with contextlib.suppress(OSError, RuntimeError, ValueError):
        faulthandler.dump_traceback(file=_STDERR, all_threads=True)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody survives SIGKILL")
