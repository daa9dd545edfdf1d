"""Spark, YARN and log4j themselves know every setting that conf/ and `submit` make."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pyspark
import pytest

from spark_nas.commands.submit import PLATFORMS
from spark_nas.platforms.submission import Submission
from tests.platforms.schemas import CONF, Document, read, spark_properties

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OTHERS = (
    "spark.master",  # of SparkConf itself
    "spark.dataproc.",  # of Google's serverless Spark
    "spark.emr-serverless.driverEnv.",
    "spark.executorEnv.",
    "spark.rapids.",  # of a plugin
    "spark.yarn.appMasterEnv.",
)
"""What is not in Spark's own registry."""
RESOURCE = re.compile(r"spark\.(executor|task)\.resource\.gpu\.(amount|discoveryScript)")


def strings(document: Document) -> Iterator[str]:
    """All keys and texts of a document."""
    if isinstance(document, dict):
        yield from map(str, document)
    for item in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from strings(item)
    if isinstance(document, str):
        yield document


def properties() -> set[str]:
    """Every Spark property that is named anywhere in conf/, or set by `submit`."""
    found = {key for path in CONF.rglob("spark-defaults.conf") for key in spark_properties(str(path.relative_to(CONF)))}
    for path in [path for platform in PLATFORMS for path in (CONF / platform).rglob("*.*")]:
        if path.suffix in (".json", ".yaml", ".yml"):
            for text in strings(read(str(path.relative_to(CONF)))):
                found |= set(re.findall(r"(?:^|--conf |spark:)(spark\.[\w.-]+)(?==|$)", text))
    submission = Submission({}, "s3://b", "r", "1", "s3://b", archive="s3://b/e")
    return found | submission.yarn_conf("python").keys()


@pytest.mark.spark
def test_spark_knows_every_property(spark: SparkSession):
    jvm = spark.sparkContext._jvm
    for module in ("internal.config.package", "deploy.yarn.config.package", "internal.config.Python"):
        jvm.java.lang.Class.forName(f"org.apache.spark.{module}$").getField("MODULE$").get(None)
    registry = jvm.org.apache.spark.internal.config.ConfigEntry

    newer = () if spark.version >= "4" else ("spark.sql.execution.pyspark.udf.faulthandler.enabled",)

    def known(key: str) -> bool:
        return (
            key in newer
            or registry.findEntry(key) is not None
            or RESOURCE.fullmatch(key) is not None
            or key.startswith(OTHERS)
        )

    found = properties()
    assert {"spark.yarn.maxAppAttempts", "spark.executor.instances", "spark.archives"} <= found
    assert [] == sorted(key for key in found if not known(key))
    assert [key for key in ("spark.task.cpu", "spark.yarn.maxAppAttempt") if known(key)] == []


def test_yarn_knows_every_property():
    """By the defaults inside the Hadoop client that Spark brings."""
    [jar] = Path(pyspark.__path__[0], "jars").glob("hadoop-client-api-*.jar")
    with zipfile.ZipFile(jar) as content:
        names = {e.text for e in ElementTree.fromstring(content.read("yarn-default.xml")).iter("name")}
    documents = [
        read("emr/configurations.json"),
        read("dataproc/cluster.yaml"),
        read("dataproc/workflow-template.yaml"),
    ]
    used = {key.partition(":")[2] or key for document in documents for key in strings(document) if "yarn." in key}
    used = {key for key in used if key.startswith("yarn.") and not key.startswith("yarn.io/")}
    scheduler = {"yarn.scheduler.capacity.resource-calculator"}  # it has defaults of its own
    assert len(used) > 6
    assert scheduler == used - names


@pytest.mark.spark
def test_log4j_reads_its_file(spark: SparkSession):
    jvm = spark.sparkContext._jvm
    uri = jvm.java.net.URI.create((CONF / "spark/log4j2.properties").as_uri())
    context = jvm.org.apache.logging.log4j.core.LoggerContext("of the test", None, uri)
    context.start()
    try:
        configuration = context.getConfiguration()
        assert "spark_nas" == configuration.getName()
        assert "console" in configuration.getAppenders()
        levels = {key: str(logger.getLevel()) for key, logger in dict(configuration.getLoggers()).items()}
        assert ("WARN", "INFO") == (levels[""], levels["org.apache.spark.deploy.yarn.YarnAllocator"])
        assert ["console"] == list(configuration.getRootLogger().getAppenders())
    finally:
        context.stop()
