"""`spark-nas status`: where a run stands, from its folder alone, whatever has become of its driver."""

from __future__ import annotations

import dataclasses
import json
import shutil
import socket
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spark_nas.cli import main
from spark_nas.commands.runs import Run
from spark_nas.commands.standing import standing
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.view import RunView
from spark_nas.search.records import Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease
from spark_nas.storage.locations import open_files
from spark_nas.storage.results import ParquetLog
from tests.commands.answers import Command
from tests.s3_endpoint import S3

EXPERIMENT = """\
name: cells
space: nas_bench_201
recipe: {learning_rate: {float: [0.01, 0.3], log: true}}
scheduler: {name: hyperband, max_resource: 9}
evaluator: {name: synthetic, noise: 0.2, divergence: 0.3}
engine: {name: simulated, workers: 3, straggler_std: 0.5}
seed: 3
"""


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run `whole`, and one that its budget has cut short, `part`. Never to be changed."""
    folder = tmp_path_factory.mktemp("status")
    (folder / "cells.yaml").write_text(EXPERIMENT)
    arguments = ["search", str(folder / "cells.yaml"), "--output", str(folder)]
    assert main([*arguments, "--run-id", "whole"]) == 0
    assert main([*arguments, "--run-id", "part", "--set", "budget.jobs=5"]) == 0
    return folder


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched / "whole", tmp_path / "whole"))


def told(command: Command, run: Path) -> dict[str, Any]:
    answer = command("status", run, "--json")
    assert (0, "") == (answer.code, answer.err)
    return dict(json.loads(answer.out))


def results(run: Path) -> list[Result]:
    return Run(str(run)).results()


def without_last_parts(run: Path, parts: int) -> None:
    for part in sorted((run / "results").iterdir())[-parts:]:
        part.unlink()


def test_a_finished_run_is_done_and_its_numbers_are_those_of_its_rows(run: Path, command: Command):
    rows, status = results(run), told(command, run)
    usable = [row for row in rows if row.usable]
    view = RunView("whole", {}, rows)
    assert 0 < len(usable) < len(rows)
    assert ("whole", "cells", "done") == (status["run_id"], status["experiment"], status["state"])
    assert (len(rows), len(usable), len(rows) - len(usable), 0) == tuple(
        status[key] for key in ("rows", "completed", "failed", "in_flight")
    )
    assert sum(view.spent(row) for row in rows) == status["epochs"]
    assert Counter(row.job.resource for row in usable) == Counter(
        {level["resource"]: level["completed"] for level in status["levels"]}
    )
    assert [sum(row.job.start_from is not None for row in rows)] == [sum(v["promoted"] for v in status["levels"])]
    assert Counter(row.executor for row in rows) == Counter(status["executors"])
    parts = list((run / "results").iterdir())
    assert (len(parts), sum(part.stat().st_size for part in parts)) == (status["files"], status["bytes"])


def test_the_best_result_is_the_incumbent(run: Path, command: Command):
    best = incumbent(results(run))
    assert best is not None
    status = told(command, run)["best"]
    trial = (status["trial"], status["loss"], status["resource"], status["metrics"])
    assert trial == (best.job.trial.trial_id, best.loss, best.job.resource, dict(best.metrics))
    assert status["recipe"].startswith("learning_rate=")


def test_the_reasons_of_failures_are_counted_the_most_frequent_first(run: Path, command: Command):
    rows = [row for row, _ in ParquetLog(LocalFiles(run), "whole").rows()]
    shutil.rmtree(run / "results")
    reasons = ["A: 1", "B: 2", "A: 1", "C: 3", "A: 1", "B: 2", "D: 4"]
    failing = [
        dataclasses.replace(row, status="failed", error=f"{reason}\nTraceback ...\x1b[2J")
        for row, reason in zip(rows, reasons, strict=False)
    ]
    with ParquetLog(LocalFiles(run), "whole") as log:
        log.append(failing, len(failing))
    failures = told(command, run)["failures"]
    assert [["A: 1", 3], ["B: 2", 2]] == failures[:2]
    assert len(failures) == 3
    assert "no usable result yet" in command("status", run).out


def test_a_run_cut_by_its_budget_is_done_and_continued_beyond_it_is_not(
    searched: Path, tmp_path: Path, command: Command
):
    part = Path(shutil.copytree(searched / "part", tmp_path / "part"))
    assert "done" == told(command, part)["state"]
    more = ("--set", "budget.jobs=7")
    assert command("search", searched / "cells.yaml", "--output", tmp_path, "--run-id", "part", *more).code == 0
    assert [7, "stopped"] == [told(command, part)[key] for key in ("rows", "state")]


def test_jobs_in_flight_when_the_last_row_was_written_are_counted(run: Path, command: Command):
    asked = [asked for _, asked in ParquetLog(LocalFiles(run), "whole").rows()]
    without_last_parts(run, 1)
    status = told(command, run)
    rows = status["rows"]
    assert rows < len(asked)
    assert asked[rows - 1] - rows == status["in_flight"] > 0
    assert "stopped" == status["state"]


def test_a_run_whose_driver_lives_says_who_and_until_when(run: Path, command: Command):
    files = LocalFiles(run)
    with Lease(files, seconds=3600.0):
        status = told(command, run)
        words = command("status", run).out
    assert "running" == status["state"]
    driver = status["driver"]
    assert driver["alive"]
    assert datetime.fromisoformat(driver["valid_until"]) - datetime.fromisoformat(driver["last_seen"]) == timedelta(
        hours=1
    )
    assert f"running: {Holder.me()}, lease valid until" in words
    assert "done" == told(command, run)["state"]


def test_a_run_whose_driver_was_killed_is_stopped_and_says_so(run: Path, command: Command):
    program = (
        "import os, signal, sys\n"
        "from spark_nas.storage.files import LocalFiles\n"
        "from spark_nas.storage.lease import Lease\n"
        "Lease(LocalFiles(sys.argv[1])).acquire()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    # The lease of the search was released, so the next driver takes it at once.
    process = subprocess.Popen([sys.executable, "-c", program, str(run)])
    process.wait()
    without_last_parts(run, 1)
    words = command("status", run).out
    assert f"stopped: process {process.pid} on {socket.gethostname()} is gone" in words
    assert "the command that began the search continues it" in words


def test_a_driver_on_another_machine_counts_as_alive_until_its_lease_has_expired(run: Path):
    lease = Lease(LocalFiles(run), seconds=60.0, holder=Holder("elsewhere", 7, "boot", "1"))
    lease.acquire()
    now = datetime.now(UTC)
    states = []
    for later in (0, 30, 90):
        status = standing(LocalFiles(run), now=now + timedelta(seconds=later))
        assert status is not None
        states.append(status.state)
    assert ["running", "running", "done"] == states


def test_it_changes_nothing(run: Path, command: Command):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    command("status", run)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_a_run_without_rows_has_a_status(run: Path, command: Command):
    shutil.rmtree(run / "results")
    shutil.rmtree(run / "_lease")
    status = told(command, run)
    assert [0, "stopped", None, None] == [status[key] for key in ("rows", "state", "best", "driver")]
    assert "stopped; no driver has held the run" in command("status", run).out


def test_an_experiment_of_another_version_has_a_status(run: Path, command: Command):
    record = json.loads((run / "run.json").read_text())
    record["experiment"]["scheduler"] = {"name": "of the future"}
    (run / "run.json").write_text(json.dumps(record))
    assert "unclear" == told(command, run)["state"]
    assert (
        "its experiment cannot be read here (is a module of its own not on Python's path?), so whether"
        in command("status", run).out
    )


@pytest.mark.parametrize("name", ["status", "compact"])
def test_where_no_run_is_the_complaint_says_what_to_give(tmp_path: Path, command: Command, name: str):
    answer = command(name, tmp_path)
    assert (2, "") == (answer.code, answer.out)
    assert f"{tmp_path}: no run has begun here; give OUTPUT/RUN_ID" in answer.complaint


@pytest.mark.parametrize(
    ("key", "value"),
    [("environment", "x"), ("run_id", "../x"), ("run_id", 5), ("experiment", []), ("file", None), ("identity", 1)],
)
def test_a_record_with_a_wrong_value_is_no_record(run: Path, command: Command, key: str, value: object):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, key: value}))
    answer = command("status", run)
    assert answer.code == 2
    assert "run.json is not a run record" in answer.complaint


def test_no_text_of_the_store_commands_the_terminal(run: Path, command: Command):
    row, _ = next(ParquetLog(LocalFiles(run), "whole").rows())
    shutil.rmtree(run / "results")
    bad = dataclasses.replace(row, status="failed", error="boom \x1b[2J\x07", executor="ho\x1b[31mst/1")
    ParquetLog(LocalFiles(run), "whole").append([bad], 1)
    words = command("status", run).out
    assert "boom ?[2J?" in words
    assert not [character for character in words if not character.isprintable() and character != "\n"]


def test_a_run_on_s3_is_seen_by_all_commands_as_on_disk(searched: Path, command: Command, s3: S3):
    output = s3.prefix()
    files = open_files(output)
    for path in searched.glob("*/**/*"):
        if path.is_file():
            files.write(path.relative_to(searched).as_posix(), path.read_bytes())
    there, here = (json.loads(command("status", f"{place}/whole", "--json").out) for place in (output, searched))
    assert there == here
    runs = json.loads(command("list", output, "--json").out)
    assert [(run["folder"], run["state"]) for run in runs] == [("part", "done"), ("whole", "done")]
    assert (
        command("compact", f"{output}/part").out == f"{output}/part/results: 0 files written, 0 removed, 5 there now\n"
    )
    assert command("status", f"{output}/nowhere").code == 2
