"""A job that fails keeps the curve of what it has trained, however it ended and on whichever engine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.simulated import MemoryStore, Simulated
from spark_nas.engines.task import run_job
from spark_nas.errors import Diverged
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.report.view import RunView
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import SUPERNET, CurvePoint, Job, Outcome, Result, Trial
from spark_nas.search.wire import result_from_json, result_to_json
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import ParquetLog

PLACE = Place(threads=1)
JOB = Job(Trial(0, SUPERNET), 0, 9)
SOME = (CurvePoint(1, 0.5, {"a": 1.0}), CurvePoint(2, math.inf), CurvePoint(3, math.nan, {"a": -math.inf}))


@dataclass
class Reports:
    """Reports the points that it is given, then ends as told."""

    points: tuple[CurvePoint, ...] = SOME
    how: str = "raises"

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        for point in self.points:
            workspace.report(point)
        while self.how == "for ever":
            workspace.check_time()
        if self.how == "raises":
            raise Diverged("the loss became nan")
        return Outcome(0.5, {}, SOME[:1] if self.how == "with a curve" else ())


def run(evaluator: Reports, limits: Limits | None = None) -> Result:
    return run_job(JOB, evaluator, MemoryStore(), limits, place=PLACE)


@pytest.mark.parametrize(("how", "limit"), [("raises", None), ("for ever", 0.05)])
def test_a_failed_job_has_the_curve_that_was_reported(how: str, limit: float | None):
    result = run(Reports(how=how), Limits(seconds=limit))
    assert (result.status, repr(result.curve)) == ("failed", repr(SOME))
    assert RunView("run", {}, [result]).spent(result) == 3


def test_it_survives_the_wire_and_the_table(tmp_path: Path):
    result = run(Reports())
    assert repr(result_from_json(result_to_json(result)).curve) == repr(SOME)
    with ParquetLog(LocalFiles(tmp_path), "run") as log:
        log.append([result], 1)
    [(row, _)] = ParquetLog(LocalFiles(tmp_path), "run").rows()
    assert (row.status, repr(row.curve)) == ("failed", repr(SOME))


@pytest.mark.parametrize(("how", "points"), [("well", SOME), ("with a curve", SOME[:1])])
def test_of_a_job_that_went_well_the_outcomes_curve_counts_and_else_what_was_reported(
    how: str, points: tuple[CurvePoint, ...]
):
    result = run(Reports(how=how))
    assert (result.status, repr(result.curve)) == ("completed", repr(points))


def test_numbers_of_numpy_travel_and_what_is_no_number_fails_the_job_alone():
    import numpy as np

    numbers = CurvePoint(np.int64(1), np.float32(0.5), {"b": np.float64(1), "a": np.int64(2)})  # type: ignore[arg-type,dict-item]
    result = run(Reports((numbers, CurvePoint(2, "low"))))  # type: ignore[arg-type]
    assert "ValueError: could not convert string to float: 'low'" in str(result.error)
    assert result_from_json(result_to_json(result)).curve == result.curve
    assert result.curve == (CurvePoint(1, 0.5, {"a": 2.0, "b": 1.0}),)


def test_a_trial_that_diverges_has_the_same_curve_here_and_simulated():
    evaluator = Synthetic(divergence=1.0).build(None, None, 50)  # type: ignore[arg-type]  # any space does
    engine = Simulated(workers=1).build(evaluator)
    job = Job(Trial(5, SUPERNET, seed=5), 0, 50)
    engine.submit([job])
    [simulated] = engine.wait()
    here = run_job(job, evaluator, place=PLACE)
    assert repr(simulated.curve) == repr(here.curve)
    assert math.isnan(here.curve[-1].loss)
    assert [point.resource for point in here.curve] == list(range(1, int(simulated.seconds) + 1))


def test_simulated_a_job_that_went_well_has_what_was_reported():
    engine = Simulated(workers=1).build(Reports(how="well"))
    engine.submit([JOB])
    assert repr(engine.wait()[0].curve) == repr(SOME)
