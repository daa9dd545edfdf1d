"""Fixtures that every part of the suite may use."""

from __future__ import annotations

import atexit
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.processes import TEST_JVM
from tests.s3_endpoint import S3, s3_endpoint

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from tests.cluster import Cluster

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("SPARK_SUBMIT_OPTS", TEST_JVM)
# A shell that runs the suite in the background has SIGINT ignored, and so would every process that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# How long an example takes says something of the machine and nothing of the code. A change is judged by the same
# examples each time; `make test-all` looks for new ones.
settings.register_profile("spark_nas", deadline=None, derandomize="SPARK_NAS_EXHAUSTIVE" not in os.environ)
settings.load_profile("spark_nas")
REPOSITORY = Path(__file__).resolve().parents[1]
# Thousands of tests and all the libraries are in memory at once, and the collector's passes over them, every 700 new
# objects, took a sixth of the time (9.2 of 55 s of tests/evaluation).
gc.set_threshold(20_000, 20, 20)


def pytest_collection_finish() -> None:
    """What is there now stays to the end: it need not be looked at again until then."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)  # or libraries that count what they leave behind complain


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is more of the same waits for `make test-all`."""
    if os.environ.get("SPARK_NAS_EXHAUSTIVE"):
        return
    skip = pytest.mark.skip(reason="exhaustive: set SPARK_NAS_EXHAUSTIVE=1, or run make test-all")
    for item in items:
        if item.get_closest_marker("exhaustive") is not None:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """`shared_data("images/x.parquet")` is the path of a shared data file; skips, saying so, without it."""
    root = Path(os.environ.get("SPARK_NAS_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"no shared data file {path}: set SPARK_NAS_DATA to the folder that holds {relative}")
        return path

    return find


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One real local Spark of two slots for the whole suite."""
    from spark_nas.engines.session import open_session

    session = open_session("local[2]", app_name="spark_nas tests")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One real cluster of several processes for the whole suite; each application has executors of its own."""
    from tests.cluster import standalone_cluster

    with standalone_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def digits(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, prepared once for the whole suite; never to be changed."""
    from spark_nas.data.prepare import prepare
    from spark_nas.data.sources.digits import Digits

    folder = tmp_path_factory.mktemp("data") / "digits"
    prepare(spark, Digits(), folder, shards=2)
    return folder


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3]:
    """One real S3 endpoint for the whole suite."""
    with s3_endpoint() as running:
        yield running


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The endpoint, which this process reaches by its environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server
