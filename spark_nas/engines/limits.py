"""What a job may use, and when its row is all the commit it needs."""

from __future__ import annotations

from dataclasses import dataclass

from spark_nas.errors import OptionError


@dataclass(frozen=True, slots=True)
class Limits:
    """What a job may use."""

    seconds: float | None = None
    """Wall time of one job; None for no limit."""
    checkpoint_seconds: float | None = None
    """At the end of an epoch so many seconds after the last, a recovery checkpoint is written; None writes none."""
    grace: float | None = None
    """Seconds beyond the limit after which a job that does not look at the time is killed with its process; None
    takes 5, or a tenth of the limit where that is more."""
    commit_seconds: float = 0.0
    """A job that leaves no checkpoint and took less is not committed in the store: the driver's durable row is its
    commit (docs/decisions/0016). 0 commits every job."""

    def __post_init__(self) -> None:
        if self.seconds is not None and not self.seconds > 0:
            raise OptionError("time_limit", self.seconds, "give seconds greater than 0, or leave it out")
        if self.checkpoint_seconds is not None and not self.checkpoint_seconds >= 0:
            raise OptionError("checkpoint_seconds", self.checkpoint_seconds, "give seconds of at least 0, or null")
        if not self.commit_seconds >= 0:
            raise OptionError("commit_seconds", self.commit_seconds, "give seconds of at least 0")

    @property
    def patience(self) -> float:
        """The grace, in seconds."""
        return self.grace if self.grace is not None else max(5.0, (self.seconds or 0.0) / 10)
