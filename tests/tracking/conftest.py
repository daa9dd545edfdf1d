"""Databases and a real server of MLflow's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """MLflow's client repeats a call that fails for minutes; it reports nothing about us to anyone.

    Its working folder is the test's, for it puts there what it has no other place for.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with MLflow's tables, which take longer to make than the end of a search that is cut short waits."""
    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        client(uri).search_experiments()
    return uri


class Server:
    """A tracking server as a process, which is started when it is needed and there is none, and keeps what it has."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._uri = folder, ""
        self._process: subprocess.Popen[str] | None = None

    def uri(self) -> str:
        """Where it answers."""
        if self._process is None:
            self._start()
        return self._uri

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _start(self) -> None:
        with (self._folder / "server.log").open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.tracking.mlflow_server", str(self._folder)],
                cwd=self._folder,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        port = self._process.stdout.readline().strip()
        assert port, (self._folder / "server.log").read_text()
        self._uri = f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all tests of a file, with MLflow's tables; a test may kill it."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(database.removeprefix("sqlite:///"), folder / "mlflow.db")
    running = Server(folder)
    yield running
    running.kill()


def client(uri: str):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri)
