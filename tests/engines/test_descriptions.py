"""What the Spark UI says of a search's stages."""

from __future__ import annotations

import json
import urllib.request

import pytest

from spark_nas.engines.descriptions import as_tag, describe_jobs, is_tag, named_run, of_run
from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.search.records import Job, Trial
from tests.strategies import plain_space

SPACE = plain_space(2, 2)


def jobs(*places: tuple[int, int, int]) -> list[Job]:
    """Of (bracket, rung, resource)."""
    return [
        Job(Trial(n, next(iter(SPACE.enumerate())), bracket=bracket), rung, resource)
        for n, (bracket, rung, resource) in enumerate(places)
    ]


def test_a_round_is_described_by_bracket_rung_and_resource():
    assert "bracket 2, rung 1: 27 jobs to 9 epochs" == describe_jobs(jobs(*[(2, 1, 9)] * 27))
    assert "bracket 0, rung 0: 1 job to 1 epoch" == describe_jobs(jobs((0, 0, 1)))
    assert "brackets 0-2, rungs 0-1: 3 jobs to 1-9 epochs" == describe_jobs(jobs((0, 0, 1), (2, 1, 9), (1, 0, 3)))
    assert "starting Python" == describe_jobs([])


def test_the_run_is_named_within_and_not_after():
    with named_run("first"):
        assert "session of run first" == of_run("session")
    assert "session" == of_run("session")


def test_a_tag_has_no_comma_and_is_known_again():
    tag = as_tag("spark_nas round of run x: bracket 2, rung 1")
    assert "spark_nas round of run x: bracket 2 rung 1" == tag
    assert is_tag(tag)
    assert not is_tag("spark-nas-0123")


@pytest.mark.spark
def test_the_status_api_says_what_a_stage_is_doing():
    conf = {"spark.ui.enabled": "true", "spark.ui.port": "0"}
    session, _ = Session(master="local[2]", conf=conf).open()
    evaluator = Synthetic().build(SPACE, None, 9)
    try:
        for options in (SparkRounds(), SparkAsync(slots=1, channel="on"), SparkAsync(slots=1, channel="off")):
            with named_run("first"):
                engine = options.build(evaluator, spark=session)
                try:
                    engine.submit(jobs((2, 1, 9), (2, 1, 9)))
                    assert all(result.status == "completed" for result in engine.wait())
                finally:
                    engine.close()
        context = session.sparkContext
        address = f"{context.uiWebUrl}/api/v1/applications/{context.applicationId}/jobs"
        port = address.split("//")[1].split("/", maxsplit=1)[0].split(":")[1]
        address = f"http://127.0.0.1:{port}/" + address.split("/", 3)[3]
        with urllib.request.urlopen(address) as answer:
            said = {job.get("description") for job in json.load(answer)}
    finally:
        session.stop()
    assert "spark_nas round of run first: bracket 2, rung 1: 2 jobs to 9 epochs" in said
    assert "spark_nas session 0 of run first" in said or "spark_nas session 1 of run first" in said
    assert "spark_nas session of run first: starting Python" in said
