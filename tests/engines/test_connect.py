"""Both Spark engines through Spark Connect: a real server, and a client in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from spark_nas.engines import connect
from spark_nas.engines.session import Session
from spark_nas.errors import ClusterError, OptionError
from spark_nas.search.records import Result
from spark_nas.search.wire import result_from_json
from tests.connect_server import connect_server, why_no_server
from tests.engines.connect_driver import hyperband

REPOSITORY = Path(__file__).resolve().parents[2]
SOON = 120
"""Seconds: many more than it takes, on any machine, and many fewer than what would hang."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `connect_driver` reported, and when its process had ended."""
    why = why_no_server()
    if why is not None:
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("connect")
    shutil.copytree(REPOSITORY / "spark_nas", folder / "source/spark_nas", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.make_archive(str(folder / "spark_nas"), "zip", folder / "source")
    # Two attempts at a task: Spark tries again what dies, and is through with it sooner than after four.
    with connect_server(folder, master="local[2,2]") as server:
        command = [sys.executable, str(Path(__file__).with_name("connect_driver.py")), server.url, str(server.pid)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_"))}
        environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), environment.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*command, str(folder)], check=False, env=environment, capture_output=True, text=True, timeout=800
        )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    lines = [json.loads(x.removeprefix("REPORT ")) for x in done.stdout.splitlines() if x.startswith("REPORT ")]
    return {**dict(lines), "ended": time.time()}


def told(results: list[Result]) -> list[tuple[object, ...]]:
    """What a scheduler is told, in the order of trials and rungs."""
    found = [(r.job, r.status, r.loss, r.metrics, r.curve) for r in results]
    return sorted(found, key=lambda row: row[0].key)


@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(900)
class TestClient:
    """What the client saw; see connect_driver."""

    @pytest.mark.parametrize("engine", ["rounds", "async"])
    def test_hyperband_finds_the_table_of_the_local_engine(self, reports: dict[str, Any], engine: str, tmp_path: Path):
        here = [result_from_json(text) for text in hyperband({"name": "local"}, tmp_path)]
        there = [result_from_json(text) for text in reports[engine]]
        assert len(here) == 22
        assert told(there) == told(here)
        if engine == "rounds":  # row by row
            assert [r.job.key for r in there] == [r.job.key for r in here]

    def test_a_session_made_here_is_ours_and_the_next_engine_finds_it(self, reports: dict[str, Any]):
        assert reports["session"] == {"connect": True, "ours": True, "again": True}

    def test_closing_cancels_our_jobs_at_once_and_nobody_elses(self, reports: dict[str, Any]):
        cancelling = reports["cancelling"]
        assert cancelling["seconds"] < SOON
        assert cancelling["gone"], "the job's Python worker still runs"
        assert cancelling["theirs"] == [0]

    @pytest.mark.parametrize("engine", ["deaths", "deaths async"])
    def test_a_job_that_kills_its_worker_is_lost_and_takes_nobody_with_it(self, reports: dict[str, Any], engine: str):
        assert reports[engine] == {"0": "completed", "1": "lost", "2": "completed", "3": "completed"}

    @pytest.mark.parametrize(
        ("what", "says"),
        [
            (
                "unloadable",
                "ClusterError: executors cannot run spark_nas: ModuleNotFoundError: No module named 'no_such",
            ),
            (
                "slots",
                "ClusterError: slots: None: Spark Connect does not tell the size of its cluster: give the number",
            ),
            ("profile", "ClusterError: profile: Spark has none with master 'local[2,2]'"),
            ("classic", "this process has worked through Spark Connect"),
            ("static", "[CANNOT_MODIFY_STATIC_CONFIG]"),
            ("nobody", "no Spark Connect server answered within 1 s"),
        ],
    )
    def test_what_cannot_be_is_refused_with_the_reason(self, reports: dict[str, Any], what: str, says: str):
        assert says in reports[what]

    def test_executors_get_the_package_from_artifacts(self, reports: dict[str, Any]):
        assert reports["artifacts"] == [{"from_zip": 1.0}]

    def test_a_server_that_dies_ends_the_search_and_the_process_in_bounded_time(self, reports: dict[str, Any]):
        dying = reports["dying"]
        assert dying["says"].startswith("ClusterLost: the Spark Connect server")
        assert dying["noticed"] < SOON
        assert dying["closed"] < SOON
        assert reports["ended"] - reports["end"] < SOON  # the client itself would go on calling for ten minutes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"remote": "spark://host:1"}, "remote: 'spark://host:1': give the address of a Spark Connect server"),
        ({"remote": "sc:///x"}, "give the address of a Spark Connect server"),
        ({"remote": "sc://host:1/;token=secret"}, r"token=\*\*\*'.*SPARK_REMOTE"),
        ({"master": "sc://host:1/;token=secret"}, r"master: 'sc://host:1/;token=\*\*\*': .*give it as remote"),
        ({"remote": "sc://host:1", "master": "local"}, "master: 'local': leave it out"),
    ],
)
def test_addresses_that_cannot_be_are_refused_without_their_secrets(options: dict[str, str], says: str):
    with pytest.raises(OptionError, match=says) as caught:
        Session(**options)
    assert "secret" not in str(caught.value)


def test_without_grpc_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "grpc" or n.startswith("pyspark.sql.connect")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "grpc", None)  # type: ignore[arg-type]  # what Python does for "not there"
    with pytest.raises(ClusterError, match=r"grpcio.*pip install 'spark_nas\[connect\]'"):
        connect.open_remote("sc://127.0.0.1:1", {}, wait_seconds=1)
