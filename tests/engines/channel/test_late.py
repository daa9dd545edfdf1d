"""Workers that come late, behind a real network: of each job one result is taken, and each run has its own sessions."""

from __future__ import annotations

import pytest

from spark_nas.engines.channel.client import Client
from spark_nas.engines.channel.frames import ChannelError
from tests.engines.channel.driving import driving
from tests.engines.channel.relay import relaying
from tests.engines.channel.wires import KEY


@pytest.mark.parametrize("noticed", [pytest.param("by silence", marks=pytest.mark.slow), "by Spark"])
def test_a_worker_that_comes_back_with_a_job_that_somebody_else_has_is_refused_and_ends(noticed: str):
    silence = 1.0 if noticed == "by silence" else 60.0
    with driving(slots=2, silence_seconds=silence) as driver, relaying(driver.server.address) as network:
        driver.submit(0)
        with Client(driver.door(network.address), driver.launched.get(timeout=10), "far") as late:
            jobs = late.jobs()
            assert next(jobs)[1] == 1
            network.stall()
            if noticed == "by silence":
                assert driver.cancelled.get(timeout=20) == 1  # and Spark says nothing
            else:
                driver.end(1, "ExecutorLostFailure")
            assert driver.next() == (0, None)
            driver.submit(0, attempt=2)
            with Client(driver.door(), driver.launched.get(timeout=10), "near") as other:
                assert next(other.jobs())[1] == 2
                assert late.deliver((0, 0), 1.0, "late")  # it cannot know better
                network.resume()
                assert list(jobs) == []
                assert not late.deliver((0, 0), 1.0, "later still")
                driver.settle()
                assert driver.arrivals.empty()
                assert other.deliver((0, 0), 1.0, "second")
                assert driver.next() == (0, "second")
        driver.settle()
        assert driver.arrivals.empty()


def test_sessions_of_a_driver_that_restarts_elsewhere_end_and_never_reach_the_new_run():
    with driving() as old, relaying(old.server.address) as network, driving("127.0.0.2", b"n" * len(KEY)) as new:
        assert new.server.address[0] == "127.0.0.2"
        old.submit(0)
        new.submit(0)
        with Client(old.door(network.address), old.launched.get(timeout=10), "old") as session:
            jobs = session.jobs()
            next(jobs)
            network.target = new.server.address  # what leads to the old driver's address now leads to the new one
            old.server.close()
            assert list(jobs) == []
            assert not session.deliver((0, 0), 1.0, "of the old run")
            with pytest.raises(ChannelError, match="no way to the driver's channel"):
                Client(old.door(network.address, connect_seconds=0.5), new.launched.get(timeout=10), "old")
        new.settle()
        assert new.arrivals.empty()
        with Client(new.door(), 1, "new") as session:
            next(session.jobs())
            assert session.deliver((0, 0), 1.0, "of the new run")
            assert new.next() == (0, "of the new run")
        new.settle()
        assert new.arrivals.empty()
