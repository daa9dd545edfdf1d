"""The survey asks the workers themselves."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import numpy
import pytest

from spark_nas.engines.survey import installed, survey
from spark_nas.errors import ClusterError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_what_is_not_installed_is_left_out() -> None:
    assert set(installed(["numpy", "no-such-package"])) == {"python", "numpy"}


def wrong() -> str | None:
    raise RuntimeError("no such bucket")


class Unpicklable:
    def __call__(self) -> str | None:
        return None

    def __reduce__(self) -> str:
        raise TypeError("cannot be pickled")


@pytest.mark.spark
def test_each_worker_answers_once_for_itself(spark: SparkSession) -> None:
    workers = survey(spark, 2, ["numpy"])
    assert len({worker.pid for worker in workers}) == len(workers) == 2
    assert os.getpid() not in {worker.pid for worker in workers}
    for worker in workers:
        assert (worker.host, worker.gpu, worker.trouble, worker.threads) == (socket.gethostname(), None, None, 1)
        assert worker.versions["numpy"] == numpy.__version__


@pytest.mark.spark
def test_a_question_that_fails_is_an_answer(spark: SparkSession) -> None:
    assert {worker.trouble for worker in survey(spark, 2, [], wrong)} == {"RuntimeError: no such bucket"}


@pytest.mark.spark
def test_where_no_python_of_ours_runs_spark_s_reason_is_told(spark: SparkSession) -> None:
    with pytest.raises(ClusterError):
        survey(spark, 1, [], Unpicklable())
