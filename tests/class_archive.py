"""The program of scripts/class-archive: has Spark's JVM do what tests have it do, and keep the classes it loaded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator

from pyspark.sql import SparkSession

from tests.processes import BRIEF_JVM, CLASS_ARCHIVE, QUIET_JVM

_MASTERS = ("local-cluster[1,1,1024]", "local[2]")
"""The first has master, worker and driver in one JVM, the second what an executor does."""


def main() -> None:
    """Write the archive, and say where it is."""
    CLASS_ARCHIVE.parent.mkdir(exist_ok=True)
    unfinished = CLASS_ARCHIVE.with_suffix(".unfinished")
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    os.environ["SPARK_SUBMIT_OPTS"] = f"{BRIEF_JVM} {QUIET_JVM} -XX:ArchiveClassesAtExit={unfinished}"
    for master in _MASTERS:
        with tempfile.TemporaryDirectory() as folder:
            java = work(master, folder)
    # It writes when it ends, which it does when nobody is left to write to it.
    java.stdin.close()
    java.wait()
    if unfinished.exists():
        unfinished.replace(CLASS_ARCHIVE)
        print(f"{CLASS_ARCHIVE}: {CLASS_ARCHIVE.stat().st_size >> 20} MB")
    else:
        print("This Java keeps no classes; the tests' JVMs start without an archive, which takes longer")


def work(master: str, folder: str):  # the process of the gateway, which has no public type
    """What the engines and the data preparation ask of Spark; returns the JVM, which outlives the session."""
    conf = {"spark.ui.enabled": "false", "spark.ui.showConsoleProgress": "false"}
    spark = SparkSession.builder.master(master).config(map=conf).getOrCreate()
    context = spark.sparkContext
    numbers = context.parallelize(range(4), 2)
    assert 4 == numbers.map(str).repartition(1).count()
    if master.startswith("local["):  # the other one has a single slot
        assert 4 == numbers.barrier().mapPartitions(iter).count()
    spark.range(10).mapInArrow(_same, "id long").write.parquet(f"{folder}/numbers")
    assert 5 == spark.read.parquet(f"{folder}/numbers").filter("id > 4").groupBy("id").count().count()
    java = context._gateway.proc
    spark.stop()
    return java


def _same(batches: Iterable[object]) -> Iterator[object]:
    yield from batches


if __name__ == "__main__":
    main()
