"""Jobs and results keep every bit through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from spark_nas.search.records import SUPERNET, Job, Result, Trial
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("seconds", "1.5"),
        ("seconds", None),
        ("seconds", True),
        ("seconds", 10**400),
        ("attempt", 1.0),
        ("attempt", True),
        ("attempt", "1"),
        ("executor", 7),
        ("error", 7),
        ("status", "done"),
        ("status", ["completed"]),
        ("environment", []),
        ("environment", {"python": 3.11}),
        ("environment", None),
        ("metrics", []),
        ("curve", 3),
        ("started_at", 3),
    ],
)
def test_a_field_of_another_type_is_a_value_error(name: str, value: object) -> None:
    good = json.loads(result_to_json(Result(Job(Trial(0, SUPERNET), 0, 1), "completed", 0.5)))
    with pytest.raises(ValueError, match="not a result"):
        result_from_json(json.dumps({**good, name: value}))
