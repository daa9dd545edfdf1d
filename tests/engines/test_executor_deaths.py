"""An executor that is killed takes along its worker session and the jobs that this held; the search loses nothing."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from spark_nas.search.records import Result
from spark_nas.search.wire import result_from_json
from tests.cluster import Cluster, spark_environment
from tests.engines.executor_death_driver import KILLER, TRIALS

pytestmark = [pytest.mark.spark, pytest.mark.one_spark, pytest.mark.slow]
REPOSITORY = Path(__file__).resolve().parents[2]


class Outcome(NamedTuple):
    """What came of the search."""

    rows: list[Result]
    listening: set[str]
    """The addresses on which the driver's Python process listened."""
    attempt: int
    """How often Spark had started a session's task before, as the session said."""
    killed: int
    """The process id of the executor that was killed."""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Outcome:
    """A search on two executors, of a driver whose Spark listens on all interfaces."""
    folder = tmp_path_factory.mktemp("deaths")
    shutil.copytree(REPOSITORY / "spark_nas", folder / "source/spark_nas", ignore=shutil.ignore_patterns("__pycache__"))
    package = shutil.make_archive(str(folder / "spark_nas"), "zip", folder / "source")
    settings = {**cluster.conf, "spark.driver.bindAddress": "0.0.0.0"}
    conf = [x for key, value in settings.items() for x in ("--conf", f"{key}={value}")]
    environment = spark_environment()
    command = [f"{environment['SPARK_HOME']}/bin/spark-submit", "--master", cluster.master, *conf]
    command += ["--py-files", package, str(Path(__file__).with_name("executor_death_driver.py")), str(folder)]
    done = subprocess.run(
        command, check=False, env=environment, cwd=folder, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [line.partition(" ") for line in done.stdout.splitlines()]
    return Outcome(
        [result_from_json(text) for what, _, text in lines if what == "ROW"],
        {text for what, _, text in lines if what == "LISTENS"},
        int(next(text for what, _, text in lines if what == "ATTEMPT")),
        int((folder / "killed").read_text()),
    )


def test_a_search_whose_executor_is_killed_ends_with_every_row_once(outcome: Outcome):
    assert not psutil.pid_exists(outcome.killed)
    assert outcome.killed in {row.metrics["jvm"] for row in outcome.rows}  # it had worked
    assert sorted(row.job.trial.trial_id for row in outcome.rows) == list(range(TRIALS))
    assert {row.status for row in outcome.rows} == {"completed"}


def test_only_the_job_that_ran_there_has_lost_an_attempt(outcome: Outcome):
    assert [row.job.trial.trial_id for row in outcome.rows if row.attempt > 1] == [KILLER]


def test_a_session_that_spark_starts_again_says_so(outcome: Outcome):
    assert outcome.attempt == 1


def test_a_channel_listens_on_the_driver_s_host_alone_where_spark_listens_everywhere(outcome: Outcome):
    assert outcome.listening == {"127.0.0.1"}
