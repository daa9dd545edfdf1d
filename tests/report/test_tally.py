"""What `spark-nas status` counts of the rows."""

from __future__ import annotations

from spark_nas.report.status import Tally
from spark_nas.search.records import SUPERNET, CurvePoint, Job, Result, Trial, incumbent


def test_the_best_is_the_incumbent_and_not_the_supernet_that_was_trained_for_longer():
    supernet = Result(Job(Trial(0, SUPERNET), 0, 4), "completed", 0.1, {"open_choices": 6.0})
    child = Result(Job(Trial(1, SUPERNET), 0, 2), "completed", 0.5)
    tally = Tally()
    for asked, row in enumerate([supernet, child], start=1):
        tally.add(row, asked)
    assert tally.best == incumbent([supernet, child]) == child


def test_a_failed_job_has_spent_what_its_curve_shows():
    tally = Tally()
    curve = tuple(CurvePoint(epoch, 0.5) for epoch in range(1, 72))
    tally.add(Result(Job(Trial(0, SUPERNET), 0, 100), "failed", curve=curve, error="Diverged"), 1)
    assert tally.epochs == 71
