"""The loop and a real store that goes away for a while: no job fails that could not reach it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_nas import driver
from spark_nas.engines.local import Local
from spark_nas.search.protocols import Evaluator, Workspace
from spark_nas.search.records import Job, Outcome
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.results import ParquetLog
from spark_nas.storage.s3 import S3Files
from tests.driver_support import curves, fresh
from tests.faulty_proxy import Plan, faulty_proxy
from tests.s3_endpoint import S3

_FASTER = 60.0
"""The loop's clock against that of the store: a minute of pause takes a second."""


@dataclass
class Goes:
    """Trains as the evaluator it wraps does; when the job `at` ends, the store goes away for some seconds."""

    evaluator: Evaluator
    plan: Plan
    at: int
    seconds: float

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        outcome = self.evaluator.evaluate(job, workspace)
        if job.trial.trial_id == self.at and not self.plan.done["away"]:
            self.plan.go_away(self.seconds)
        return outcome


@pytest.mark.slow
def test_a_store_that_is_away_for_a_minute_fails_no_job(s3: S3, tmp_path: Path):
    options, plan = FullTraining(4, 1), Plan(0.0)
    with faulty_proxy(s3.endpoint, plan) as url, ParquetLog(LocalFiles(tmp_path), "run") as log:
        store = CommittedJobs(S3Files(s3.prefix(), s3.options(endpoint=url, max_attempts=2)))
        evaluator = Goes(curves(options, divergence=0.0), plan, at=2, seconds=60 / _FASTER)
        driver.run(
            fresh(options),
            Local().build(evaluator, store),
            log,
            clock=lambda: time.monotonic() * _FASTER,
            sleep=lambda seconds: time.sleep(seconds / _FASTER),
        )
    assert plan.done["away"] > 1
    results = [result for result, _ in log.rows()]
    assert [(number, "completed") for number in range(4)] == [(r.job.trial.trial_id, r.status) for r in results]
    assert [False, False, True, False] == [result.attempt > 1 for result in results]
