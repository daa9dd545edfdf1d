"""Where the channel listens: where Spark's own driver does, and on no more interfaces than it."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest
from pyspark import SparkConf

from spark_nas.engines.sessions import driver_address

ELSEWHERE = "192.0.2.1"
"""An address of no machine (RFC 5737)."""
NAME = "driver.invalid"
"""A name of no machine (RFC 2606)."""


def session(master: str, **conf: str) -> Any:  # noqa: ANN401 - what of a SparkSession is looked at
    """A session whose context has these settings, each of `spark.driver`."""
    settings = SparkConf(loadDefaults=False)
    for key, value in conf.items():
        settings.set(f"spark.driver.{key}", value)
    return SimpleNamespace(sparkContext=SimpleNamespace(master=master, getConf=lambda: settings))


@pytest.mark.parametrize(
    "master", ["yarn", "spark://127.0.0.1:7077", "k8s://https://cluster", "local-cluster[2,1,512]"]
)
@pytest.mark.parametrize(
    ("conf", "expected"),
    [
        ({"host": "127.0.0.2"}, ("127.0.0.2", "127.0.0.2")),
        ({"host": "127.0.0.2", "bindAddress": "127.0.0.1"}, ("127.0.0.1", "127.0.0.2")),
        ({"host": "127.0.0.2", "bindAddress": "0.0.0.0"}, ("127.0.0.2", "127.0.0.2")),
        ({"host": "127.0.0.2", "bindAddress": "::"}, ("127.0.0.2", "127.0.0.2")),
        ({"host": ELSEWHERE, "bindAddress": "127.0.0.1"}, ("127.0.0.1", ELSEWHERE)),
        # behind an address translation Spark itself listens everywhere, and is known by an address that is not here
        ({"host": ELSEWHERE, "bindAddress": "0.0.0.0"}, ("0.0.0.0", ELSEWHERE)),
        ({"host": ELSEWHERE, "bindAddress": "::"}, ("::", ELSEWHERE)),
        ({"host": ELSEWHERE}, (ELSEWHERE, ELSEWHERE)),
        ({}, (socket.gethostname(), socket.gethostname())),
    ],
)
def test_the_channel_listens_where_spark_does_and_everywhere_only_where_spark_must(
    master: str, conf: dict[str, str], expected: tuple[str, str]
):
    assert driver_address(session(master, **conf)) == expected


def test_a_name_that_is_not_here_is_never_a_reason_to_listen_everywhere():
    assert driver_address(session("yarn", host=NAME)) == (NAME, NAME)
    assert driver_address(session("yarn", host=NAME, bindAddress="127.0.0.1")) == ("127.0.0.1", NAME)
    # here Spark itself listens everywhere, and its executors know a name that may lead to any interface
    assert driver_address(session("yarn", host=NAME, bindAddress="0.0.0.0")) == ("0.0.0.0", NAME)


@pytest.mark.parametrize("master", ["local", "local[2]", "local[*, 4]"])
def test_a_local_channel_is_on_loopback_wherever_spark_listens(master: str):
    assert driver_address(session(master, host=NAME, bindAddress="0.0.0.0")) == ("127.0.0.1", "127.0.0.1")
