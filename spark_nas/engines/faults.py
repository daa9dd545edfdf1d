"""Whose fault an error is: the job's, which fails, or the machine's, which another attempt need not meet."""

from __future__ import annotations

import errno
import re

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


def is_machines_fault(error: BaseException) -> bool:
    """Whether an error, or one it was raised from, tells of a network or a disk rather than of the job.

    Such a job is lost, and tried again as often as the budget says. What is missing, corrupt or too large stays so
    on another attempt: that fails.
    """
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if isinstance(link, TimeLimitExceeded):
            return False
        if isinstance(link, StoreUnavailable) or (isinstance(link, OSError) and _is_passing(link)):
            return True
        seen.add(id(link))
        link = link.__cause__
    return False


def _is_passing(error: OSError) -> bool:
    if error.errno is not None:
        return error.errno in _CODES
    return isinstance(error, ConnectionError | TimeoutError) or _ARROW.search(str(error)) is not None
