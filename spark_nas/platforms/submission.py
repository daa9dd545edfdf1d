"""A search as a platform is to run it: arguments, places and Spark properties, in no platform's words yet.

The experiment travels inside the arguments, as JSON: a request is whole by itself, nothing has to be uploaded first,
and what runs is what was checked. Two traps of YARN shape that text: containers expand `{{` and `}}` in arguments, and
an application master that fails is started again behind the scheduler's back unless `maxAppAttempts` is 1.
"""

from __future__ import annotations

import argparse
import json
import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import metadata

from spark_nas.errors import OptionError, UsageError
from spark_nas.storage.record import check_run_id

LONGEST = 8000
"""Bytes of the experiment; EMR takes 10,280 characters of arguments, Databricks 10,000 bytes."""
GPU_SCRIPT = "/usr/lib/spark/scripts/gpu/getGpusResources.sh"
"""Where EMR and the GPU initialisation action of Dataproc put the script that tells Spark its GPUs."""
_TOKENS = re.compile(r'"(?:[^"\\]|\\.)*"|[{}]')


@dataclass(frozen=True)
class Submission:
    """One attempt at a run. Raises OptionError for what no platform could run, OutputError for a bad run id."""

    experiment: Mapping[str, object]
    """The experiment file as read, with its overrides."""
    output: str
    """Folder of runs; the run is OUTPUT/RUN_ID."""
    run_id: str
    attempt: str
    """Tells the attempts at one run apart: names the ending, and makes a request that is sent twice run once."""
    code: str
    """Folder, reachable from the platform, with what `make wheel` left in dist/, and jobs/entry.py."""
    archive: str | None = None
    """URI of the packed environment that `make archive` made; None where the platform's Python has all packages."""
    search: tuple[str, ...] = ()
    """Further arguments of `spark-nas search`."""
    workers: int = 2
    """Executors, each of which trains one architecture at a time."""
    cores: int = 4
    """Cores of an executor; all serve its one task."""
    gpus: int = 1
    """GPUs of an executor, 0 or 1: a search needs no more, and Spark fills the first of several before the next."""
    heap: str = "4g"
    """Java heap of an executor: little, for training happens outside it."""
    memory: str = "8g"
    """Memory of an executor beside its heap: Python, torch, decoded data."""
    conf: Mapping[str, str] = field(default_factory=dict)
    """Spark properties that are added, or take the place of ours."""

    def __post_init__(self) -> None:
        check_run_id(self.run_id)
        check_run_id(self.attempt)
        for key, least in (("workers", 1), ("cores", 1), ("gpus", 0)):
            if getattr(self, key) < least:
                raise OptionError(key, getattr(self, key), f"give at least {least}")
        if self.gpus > 1:
            raise OptionError("gpus", self.gpus, "give each executor one GPU, and take more executors")
        size = len(inline(self.experiment).encode())
        if size > LONGEST:
            raise UsageError(f"the experiment is {size:,} bytes long; a platform's arguments take {LONGEST:,} at most")

    @property
    def name(self) -> str:
        """What the platform calls the job."""
        return f"spark-nas {self.run_id}"

    @property
    def attempt_id(self) -> str:
        """Names the attempt where people look."""
        return f"{self.run_id}-{self.attempt}"

    @property
    def token(self) -> str:
        """Equal tokens are one request to the platform: that which leaves the same ending.

        Of 36 letters that all take: Dataproc wants 40 at most and no dot, EMR Serverless and Databricks 64; a run id
        may have more.
        """
        return str(uuid.uuid5(uuid.NAMESPACE_URL, self.ending))

    @property
    def ending(self) -> str:
        """Where the attempt leaves its exit code; see `entry`."""
        return f"{self.output.rstrip('/')}/{self.run_id}/_endings/{self.attempt}.json"

    @property
    def package(self) -> str:
        """URI of the package as a zip, for --py-files."""
        return f"{self.code.rstrip('/')}/spark_nas-{metadata.version('spark_nas')}.zip"

    @property
    def wheel(self) -> str:
        """URI of the wheel."""
        return f"{self.code.rstrip('/')}/spark_nas-{metadata.version('spark_nas')}-py3-none-any.whl"

    @property
    def script(self) -> str:
        """URI of jobs/entry.py."""
        return f"{self.code.rstrip('/')}/entry.py"

    def arguments(self) -> list[str]:
        """What follows jobs/entry.py."""
        entry = ["--experiment", inline(self.experiment), "--ending", self.ending]
        return [*entry, "search", "--output", self.output, "--run-id", self.run_id, *self.search]

    def session_conf(self) -> dict[str, str]:
        """What every cluster's Spark needs to be told for a search, wherever its executors come from."""
        conf = {
            "spark.speculation": "false",  # it would train a job twice
            "spark.scheduler.mode": "FAIR",
            "spark.task.cpus": str(self.cores),  # one task an executor, and its threads
            "spark.task.maxFailures": "4",
            "spark.task.reaper.enabled": "true",  # a cancelled task's Python may hold a GPU
            "spark.network.timeout": "600s",
            "spark.executor.heartbeatInterval": "30s",
        }
        if self.gpus:
            conf["spark.task.resource.gpu.amount"] = "1"
            conf |= {"spark.rapids.sql.enabled": "false", "spark.rapids.memory.gpu.pool": "NONE"}  # torch's GPU
        return conf

    def cluster_conf(self, python: str | None) -> dict[str, str]:
        """The same, with executors asked for; `python` is the interpreter where no archive brings one."""
        conf = self.session_conf() | {
            "spark.dynamicAllocation.enabled": "false",  # it gives nodes back between rungs, and buys them again
            "spark.executor.instances": str(self.workers),
            "spark.executor.cores": str(self.cores),
            "spark.executor.memory": self.heap,
            "spark.executor.memoryOverhead": self.memory,
        }
        if self.gpus:
            conf["spark.executor.resource.gpu.amount"] = "1"
        if self.archive is not None:
            conf["spark.pyspark.python"] = "./environment/bin/python"
        elif python is not None:
            conf["spark.pyspark.python"] = python
        return conf

    def yarn_conf(self, python: str) -> dict[str, str]:
        """The same for YARN, which must find the GPUs and must not start a driver by itself."""
        conf = self.cluster_conf(python)
        if self.gpus:
            conf["spark.executor.resource.gpu.discoveryScript"] = GPU_SCRIPT
        driver = {"spark.yarn.appMasterEnv.PYSPARK_PYTHON": conf["spark.pyspark.python"]}  # it is in a container too
        return {**conf, **driver, "spark.yarn.maxAppAttempts": "1"}

    def with_own(self, conf: Mapping[str, str]) -> dict[str, str]:
        """`conf` with what the user has set."""
        return {**conf, **self.conf}


def refuse(arguments: argparse.Namespace, names: Iterable[str], remedy: str) -> None:
    """Raise OptionError for the first of these options of `submit` that is given: the request has no place for it."""
    for name in names:
        value = getattr(arguments, name)
        if value not in (None, []):
            raise OptionError(f"--{name.replace('_', '-')}", value, remedy)


def inline(experiment: Mapping[str, object]) -> str:
    r"""The experiment as JSON that may be an argument anywhere.

    Braces in strings are written as escapes and those of objects never touch, so that `{{` and `}}` cannot occur.

    >>> inline({"a": {"b": {"c": "}}"}}})
    '{"a": {"b": {"c": "\\u007d\\u007d" } } }'
    """

    def apart(token: re.Match[str]) -> str:
        text = token[0]
        if text in "{}":
            return text if text == "{" else " }"
        return text.replace("{", "\\u007b").replace("}", "\\u007d")

    return _TOKENS.sub(apart, json.dumps(experiment, separators=(", ", ": ")))
