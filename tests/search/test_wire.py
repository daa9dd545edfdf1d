"""Jobs and results keep every bit through JSON."""

from __future__ import annotations

import pytest
from hypothesis import given

from spark_nas.search.records import Job, Result
from spark_nas.search.wire import job_from_json, job_to_json, result_from_json, result_to_json
from tests.strategies import jobs, results


@given(job=jobs())
def test_any_job_survives(job: Job) -> None:
    assert job_from_json(job_to_json(job)) == job


@given(result=results())
def test_any_result_survives(result: Result) -> None:
    assert repr(result_from_json(result_to_json(result))) == repr(result)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"job": {}}', "null"])
def test_anything_else_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        result_from_json(text)
    with pytest.raises(ValueError, match=r"."):
        job_from_json(text)
