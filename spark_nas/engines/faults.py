"""Whose fault an error is: the job's, which fails, or the machine's, which another attempt need not meet.

And what an error leaves behind: after most errors of CUDA every later use of the GPU fails in that process.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from threading import Event

from spark_nas.errors import StoreUnavailable, TimeLimitExceeded

_PASSING = (
    *("ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETRESET"),
    *("ENETUNREACH", "EPIPE", "ETIMEDOUT"),
    *("EDQUOT", "EIO", "EMFILE", "ENFILE", "ENOSPC", "ESTALE"),
)
_CODES = frozenset(getattr(errno, name) for name in _PASSING if hasattr(errno, name))
"""Errors of networks and disks that come and go, or that one machine has and the next has not."""
_ARROW = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|THROTTLING|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT)"
    r"|HTTP status (5\d\d|429)|Status\((UNAVAILABLE|DEADLINE_EXCEEDED|INTERNAL|RESOURCE_EXHAUSTED)"
)
"""How pyarrow, whose errors have no number, says that an object store did not answer."""

_CUDA = re.compile(r"(CUDA|HIP)( driver)? error: (?!out of memory)|Triton Error \[(CUDA|HIP)\]|cuDNN error: ")
"""How torch begins what the GPU's libraries say. Memory that was short may be there for the next job."""

SPOILED = Event()
"""Set when a job has spoiled this process for those after it. It is a task's, which sees to it that Spark starts
another."""


def spoils_process(error: BaseException) -> bool:
    """Whether CUDA fails for good in this process, by an error or one that it came of.

    An illegal memory access or a failed assertion on the device does not go away. Nobody knows which errors do, and a
    new process costs seconds.
    """
    return any(
        isinstance(link, RuntimeError) and any(isinstance(text, str) and _CUDA.search(text) for text in link.args)
        for link in _links(error, contexts=True)
    )


def is_machines_fault(error: BaseException) -> bool:
    """Whether an error, or one it was raised from, tells of a network or a disk rather than of the job.

    Such a job is lost, and tried again as often as the budget says. What is missing, corrupt or too large stays so
    on another attempt: that fails.
    """
    for link in _links(error):
        if isinstance(link, TimeLimitExceeded):
            return False
        if isinstance(link, StoreUnavailable) or (isinstance(link, OSError) and _is_passing(link)):
            return True
    return False


def _links(error: BaseException, *, contexts: bool = False) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on; with `contexts` also what was being handled."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        yield link
        seen.add(id(link))
        link = link.__cause__ or (link.__context__ if contexts else None)


def _is_passing(error: OSError) -> bool:
    if error.errno is not None:
        return error.errno in _CODES
    return isinstance(error, ConnectionError | TimeoutError) or _ARROW.search(str(error)) is not None
