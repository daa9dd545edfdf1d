"""What a run is asked for."""

from __future__ import annotations

import pytest

from spark_nas.report.view import RunView
from spark_nas.search.records import SUPERNET, Job, Result, Trial


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [
        (("learning_rate", "parameters", "train_loss", "valid_error", "valid_loss"), "valid_loss"),
        (("accuracy", "valid_loss"), "accuracy"),
        (("learning_rate", "latency"), "latency"),
        ((), None),
    ],
)
def test_a_measure_is_shown_before_a_setting(metrics: tuple[str, ...], shown: str | None):
    result = Result(Job(Trial(0, SUPERNET), 0, 1), "completed", 0.5, dict.fromkeys(metrics, 1.0))
    assert RunView("run", {}, [result]).metric == shown
