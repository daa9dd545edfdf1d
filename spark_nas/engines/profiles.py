"""What a task of ours asks of its executor: CPU cores and a GPU, by Spark's settings or by a profile of the stage.

A profile (stage-level scheduling) asks for it for the stages of a search alone, in a session whose settings belong to
a platform. It names task requests only: they are met by executors that run already.

What Spark would accept, and then leave GPUs idle or two jobs on one, is refused here, before any job.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spark_nas.errors import ClusterError, OptionError

if TYPE_CHECKING:
    from pyspark.resource import ResourceProfile
    from pyspark.sql import SparkSession

Setting = Callable[[str], str | None]
"""The value of a Spark property, None where it is not set."""

_TASK_CPUS, _TASK_GPUS = "spark.task.cpus", "spark.task.resource.gpu.amount"
_EXECUTOR_CPUS, _EXECUTOR_GPUS = "spark.executor.cores", "spark.executor.resource.gpu.amount"
_ADDRESS_SPACE = "spark.executor.pyspark.memory"


@dataclass(frozen=True)
class TaskProfile:
    """What a job's task asks for; what is left out is as Spark's settings say. Needs Spark 4.0 and a real cluster."""

    cpus: int | None = None
    """CPU cores; a job may use as many threads."""
    gpus: float | None = None
    """1, or a fraction where that many jobs are to share a GPU."""

    def __post_init__(self) -> None:
        if self.cpus is None and self.gpus is None:
            raise OptionError("profile", {}, "give cpus, gpus or both, or leave it out")
        if self.cpus is not None and self.cpus < 1:
            raise OptionError("cpus", self.cpus, "give at least 1")
        if self.gpus is not None and not 0 < self.gpus <= 1:
            raise OptionError("gpus", self.gpus, "give 1, or a fraction: a job uses one GPU")

    def requests(self, setting: Setting) -> tuple[int, float | None]:
        """Cores and GPUs of a task. A profile replaces Spark's settings whole, so it repeats what it leaves out."""
        cpus = self.cpus if self.cpus is not None else int(setting(_TASK_CPUS) or 1)
        return cpus, self.gpus if self.gpus is not None else _amount(setting(_TASK_GPUS))


def check_resources(setting: Setting, profile: TaskProfile | None = None) -> None:
    """Refuse settings with which GPUs idle, are shared unasked, or cannot be used. Raises ClusterError.

    >>> check_resources({"spark.task.resource.gpu.amount": "1", "spark.executor.resource.gpu.amount": "1"}.get)
    """
    key, gpus = _asked(setting, profile)
    there = _amount(setting(_EXECUTOR_GPUS))
    if gpus is not None:
        memory = setting(_ADDRESS_SPACE)
        if memory is not None:
            raise ClusterError(
                f"{_ADDRESS_SPACE}: {memory!r}: leave it out and set spark.executor.memoryOverhead: it limits address "
                "space, of which CUDA reserves far more than it uses, so that no job could use its GPU"
            )
        if gpus > 1:
            raise ClusterError(f"{key}: {gpus:g}: set it to 1, a job uses one GPU and the others would idle")
        if gpus < 1 and there is not None and there > 1:
            raise ClusterError(
                f"{key}: {gpus:g}: with {_EXECUTOR_GPUS} {there:g}, Spark fills the first GPU of an executor before "
                "it uses the next, and GPUs idle: give executors one GPU each, or tasks a whole one"
            )
        if profile is not None and there is None and setting(_TASK_GPUS) is None:
            raise ClusterError(f"{key}: {gpus:g}: executors have no GPUs: set {_EXECUTOR_GPUS}, or leave gpus out")
    cores = setting(_EXECUTOR_CPUS)
    if profile is not None and profile.cpus is not None and cores is not None and profile.cpus > int(cores):
        raise ClusterError(f"profile.cpus: {profile.cpus}: ask for at most {cores}, the cores of an executor")


def refuse_gpus_in_local(master: str, conf: Mapping[str, str]) -> None:
    """Refuse resources in local mode, where jobs that ask for them wait for ever. Raises ClusterError."""
    for key, value in conf.items():
        if key.startswith("spark.task.resource.") and key.endswith(".amount") and value:
            raise ClusterError(
                f"{key}: {value!r}: Spark never starts a task that asks for it with master {master!r}; leave it out, "
                "or use a cluster"
            )


def resource_profile(
    session: SparkSession, profile: TaskProfile, *, setting: Setting, local: bool, remote: bool
) -> ResourceProfile:
    """The profile as Spark takes it. Raises ClusterError where this Spark has none, with what to do instead."""
    from pyspark import __version__
    from pyspark.resource import ResourceProfileBuilder, TaskResourceRequests

    instead = f"leave profile out and set {_TASK_CPUS} and {_TASK_GPUS} for the whole session"
    if int(__version__.split(".")[0]) < 4:
        raise ClusterError(f"profile: needs Spark 4.0 or newer, this is {__version__}: {instead}")
    if local:
        raise ClusterError(f"profile: Spark has none with master {setting('spark.master')!r}: leave it out")
    cpus, gpus = profile.requests(setting)
    requests = TaskResourceRequests().cpus(cpus)
    if gpus is not None:
        requests = requests.resource("gpu", gpus)
    try:
        built = ResourceProfileBuilder().require(requests).build
        if remote:
            _make_active(session)
            _ = built.id  # asks the server, which refuses here what it cannot do
        else:
            session.sparkContext._jsc.sc().resourceProfileManager().addResourceProfile(built._java_resource_profile)
    except Exception as error:
        from spark_nas.engines.spark_errors import reason

        raise ClusterError(f"profile: Spark refuses it: {reason(error)}: {instead}") from error
    return built


def map_arguments(profile: ResourceProfile | None) -> Mapping[str, Any]:
    """The further arguments of `mapInArrow`; none without a profile, as Spark 3.5 knows of none."""
    return {} if profile is None else {"profile": profile}


def _asked(setting: Setting, profile: TaskProfile | None) -> tuple[str, float | None]:
    if profile is not None and profile.gpus is not None:
        return "profile.gpus", profile.gpus
    return _TASK_GPUS, _amount(setting(_TASK_GPUS))


def _amount(text: str | None) -> float | None:
    """An amount of a resource; None for none at all. Raises ClusterError for no number."""
    try:
        return float(text) or None if text else None
    except ValueError:
        raise ClusterError(f"GPUs of a task or an executor: {text!r}: give a number") from None


def _make_active(session: SparkSession) -> None:
    """Spark Connect makes a profile on the server of the session that is active in this thread."""
    from pyspark.sql.connect.session import SparkSession as RemoteSession

    RemoteSession._set_default_and_active_session(session)  # type: ignore[arg-type]
