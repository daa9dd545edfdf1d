"""What the Spark UI says of a search's stages."""

from __future__ import annotations

import re

import pytest
from pyspark.sql import SparkSession

from spark_nas.engines.descriptions import as_tag, describe_jobs, is_tag, named_run, of_run
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.search.records import Architecture, Job, Trial
from tests.engines.probes import Probe, job


def jobs(*places: tuple[int, int, int]) -> list[Job]:
    """Of (bracket, rung, resource)."""
    return [
        Job(Trial(n, Architecture(), bracket=bracket), rung, resource)
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
def test_spark_s_status_store_says_what_a_stage_is_doing(spark: SparkSession):
    for options in (SparkRounds(), SparkAsync(slots=1, channel="on"), SparkAsync(slots=1, channel="off")):
        with named_run("told"):
            engine = options.build(Probe(), None, spark)
        try:
            engine.submit([job(0), job(1)])
            assert "completed" == engine.wait()[0].status
        finally:
            engine.close()
    context = spark.sparkContext
    listed = context._jsc.sc().statusStore().jobsList(context._jvm.java.util.ArrayList())  # what the UI shows
    found = [listed.apply(place).description() for place in range(listed.size())]
    said = {description.get() for description in found if description.isDefined()}
    assert f"spark_nas round of run told: {describe_jobs([job(0), job(1)])}" in said
    assert any(re.fullmatch(r"spark_nas session \d+ of run told", text) for text in said)
    assert "spark_nas session of run told: starting Python" in said
