"""A thousand strangers at once, against the limits as they are shipped."""

from __future__ import annotations

import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from spark_nas.engines.channel.client import Client
from spark_nas.search.wire import job_from_json
from tests.engines.channel.driving import Driver, driving
from tests.engines.channel.wires import ended

CROWD = 1000
_FILES = 2 * CROWD + 500
"""Both ends of each connection, and what the process has open anyway."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """As many open files as the crowd needs, where the system lets us have them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FILES:
        pytest.skip(f"only {hard} open files are allowed, of the {_FILES} that a crowd needs: raise ulimit -n")
    if soft != resource.RLIM_INFINITY and soft < _FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def work(client: Client) -> None:
    """What a session does, with jobs that take no time."""
    for text, _ in client.jobs():
        client.deliver(tuple(job_from_json(text).key), 0.2, "done")


def serve(driver: Driver, trials: range) -> None:
    """Hand out jobs one by one, and have the results of all."""
    for trial in trials:
        driver.submit(trial)
        assert driver.next() == (trial, "done")


@pytest.mark.slow
@pytest.mark.usefixtures("many_files")
def test_a_session_works_on_and_another_gets_in_while_a_thousand_idle_connections_stand():
    with driving(slots=2) as driver, ExitStack() as stack:
        driver.submit(0)
        session = stack.enter_context(Client(driver.door(), driver.launched.get(timeout=10), "here"))
        worker = threading.Thread(target=work, args=[session])
        worker.start()
        assert driver.next() == (0, "done")
        crowd: list[socket.socket] = []
        for trial in range(1, 101):  # a result comes after every ten strangers, of whom none has left
            for _ in range(CROWD // 100):
                crowd.append(stack.enter_context(socket.create_connection(driver.server.address, timeout=10)))
            serve(driver, range(trial, trial + 1))
        driver.settle()
        assert len(driver.server._unproved) <= 64
        driver.submit(101, 102)
        stack.enter_context(Client(driver.door(), driver.launched.get(timeout=10), "a second one"))
        driver.settle()
        assert len(driver.dispatcher._sessions) == 2
        assert [driver.next(), driver.next()] == [(101, "done"), (102, "done")]
        serve(driver, range(103, 111))
        for connection in crowd:
            connection.settimeout(10)  # twice what they are given
        assert all(ended(connection) for connection in crowd)
        serve(driver, range(111, 121))
        driver.server.call(driver.dispatcher.finish)
        worker.join(20)
        assert not worker.is_alive()
