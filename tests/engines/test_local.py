"""The local engine."""

from __future__ import annotations

import pytest

from spark_nas.engines.local import Local
from spark_nas.errors import OptionError
from tests.engines.probes import Probe, job


def test_jobs_run_in_the_order_of_submission_one_a_wait():
    engine = Local(slots=3).build(Probe())
    engine.submit([job(2), job(0), job(1)])
    assert [[r.job.trial.trial_id for r in engine.wait()] for _ in range(3)] == [[2], [0], [1]]


def test_threads_are_those_of_the_options():
    engine = Local(threads=2).build(Probe())
    engine.submit([job(0)])
    assert engine.wait()[0].metrics["threads"] == 2


def test_waiting_for_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing is in flight"):
        Local().build(Probe()).wait()


@pytest.mark.parametrize("options", [{"slots": 0}, {"threads": 0}, {"time_limit": 0.0}])
def test_unusable_options_name_their_key(options: dict[str, int]):
    with pytest.raises(OptionError, match=next(iter(options))):
        Local(**options)
