"""Every error that spark_nas raises on purpose.

SparkNasError
+-- UsageError                 the caller can mend it; exit code 2, before any cluster time is spent
|   +-- OptionError            a value given to one component is unusable (knows the key, not the file)
|   +-- ConfigError            the same, in an experiment file (knows file, key, value and remedy)
|   +-- DataError              a data set is missing, corrupt, empty or not what its descriptor says
|   +-- OutputError            the output location cannot be used, or holds another experiment's run
|   +-- ClusterError           the cluster cannot give what the experiment asks for
+-- SearchFailed               the search ran, but no trial completed; exit code 1
+-- Unfinished                 stopped in order before the end; exit code 75: run the same command again
|   +-- RunHeld                another driver holds the run
|   +-- LeaseLost              another driver has taken the run over
|   +-- StoreUnavailable       the store or the disk did not answer, however often it was asked
|   +-- ClusterLost            Spark itself is gone: its driver JVM, its master, or its Connect server
+-- JobError                   a job's own failure: becomes a failed row, never a dead search
    +-- Diverged               the loss became NaN or infinite
    +-- TimeLimitExceeded      the job ran longer than its time limit
"""

from __future__ import annotations


class SparkNasError(Exception):
    """Base of every error raised on purpose."""

    exit_code = 1

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: one line, as on the command line; where it was raised helps nobody to mend it."""
        return [f"{type(self).__name__}: {self}"]


class UsageError(SparkNasError):
    """Bad input: the message names the value and the remedy in one line."""

    exit_code = 2


class OptionError(UsageError):
    """A component was given an unusable value.

    Raised by an options dataclass, which knows its key but not the file it came from; `config` turns it
    into a `ConfigError` that names the file as well.
    """

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{key}: {value!r}: {remedy}")
        self.key, self.value, self.remedy = key, value, remedy


class ConfigError(UsageError):
    """An experiment file is unusable; the message is `FILE: KEY: VALUE: REMEDY` on one line."""

    def __init__(self, file: str, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{file}: {key}: {value!r}: {remedy}")
        self.file, self.key, self.value, self.remedy = file, key, value, remedy


class DataError(UsageError):
    """A data set is missing, corrupt, empty, or not what its descriptor says."""


class OutputError(UsageError):
    """The output location cannot be used, or holds something that must not be overwritten."""


class ClusterError(UsageError):
    """The cluster cannot give what the experiment asks for."""


class SearchFailed(SparkNasError):
    """The search ran to its end but no trial completed."""


class Unfinished(SparkNasError):
    """The search stopped before its end, everything it had is durable, and the same command continues it."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a scheduler may retry on this code, and on no other


class RunHeld(Unfinished):
    """Another driver holds the run; the message says who."""


class LeaseLost(Unfinished):
    """Another driver has taken the run over while this one could not renew its lease."""


class StoreUnavailable(Unfinished):
    """The store did not answer, however often it was asked; nobody's input is wrong."""


class ClusterLost(Unfinished):
    """Spark itself is gone while the search ran; what had finished is durable."""


class JobError(SparkNasError):
    """A job's own failure; `engines.task` turns it into a failed result."""


class Diverged(JobError):
    """The training loss became NaN or infinite."""


class TimeLimitExceeded(JobError):
    """The job ran longer than its time limit in seconds."""
