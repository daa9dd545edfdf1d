"""What Spark's Python workers are like: asked of the workers themselves, in one short stage."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from spark_nas.engines.gpu import place_of_task
from spark_nas.engines.spark_errors import trouble

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]
    from pyspark.sql import SparkSession

Question = Callable[[], str | None]
"""Asked on each worker, so it must be picklable: what is wrong there, or None."""
_SPREAD_SECONDS = 0.5
"""How long a task lasts at least, so that no worker takes the tasks of another."""


@dataclass(frozen=True)
class Worker:
    """One Python worker of an executor."""

    host: str
    pid: int
    versions: Mapping[str, str]
    """Of Python and of the packages that are installed there."""
    threads: int
    gpu: str | None
    """The address that Spark gave the task; None where it gave none."""
    trouble: str | None
    """What the question's answer was; None when all is well."""


def installed(packages: Sequence[str]) -> dict[str, str]:
    """Versions of Python and of those packages that are installed in this process's environment."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def survey(
    session: SparkSession, tasks: int, packages: Sequence[str], question: Question | None = None
) -> list[Worker]:
    """The workers that so many tasks at the same time meet, each once, by host.

    Raises ClusterError, with Spark's reason, when no Python of ours runs on the executors.
    """
    table = session.range(0, tasks, 1, tasks)
    try:
        rows = table.mapInArrow(partial(_answer, tuple(packages), question), "worker string").collect()
    except Exception as error:
        raise trouble(error) from error
    workers = {(found["host"], found["pid"]): Worker(**found) for found in (json.loads(row[0]) for row in rows)}
    return [workers[key] for key in sorted(workers)]


def _answer(
    packages: Sequence[str], question: Question | None, rows: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    began = time.monotonic()
    tasks = sum(batch.num_rows for batch in rows)  # drained: see worker.run_partition
    try:
        wrong = question() if question is not None else None
    except Exception as error:
        wrong = f"{type(error).__name__}: {error}"
    place = place_of_task()
    found = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "versions": installed(packages),
        "threads": place.threads,
        "gpu": place.gpu,
        "trouble": wrong,
    }
    time.sleep(max(0.0, _SPREAD_SECONDS - (time.monotonic() - began)))
    yield pa.RecordBatch.from_arrays([pa.array([json.dumps(found)] * tasks, pa.string())], names=["worker"])
