"""How a search ends before its end: by a signal, by its time, or because another driver has the run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.search.records import Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.lease import Holder, Lease
from tests.commands.answers import Command

REPOSITORY = Path(__file__).resolve().parents[2]


def results(folder: Path) -> list[Result]:
    return Run(str(folder)).results()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, r"interrupted; the same command continues"),
        (signal.SIGTERM, 75, r"stopped \(SIGTERM\) after \d+ jobs, 0 in flight; the same command continues"),
    ],
)
def test_a_search_ended_by_a_signal_says_so_and_the_same_command_continues_it(
    number: signal.Signals, code: int, said: str, tmp_path: Path, command: Command
):
    gate = {"name": "tests.own_components:Gated", "folder": str(tmp_path), "at": 10}
    scheduler = {"name": "hyperband", "max_resource": 27}
    experiment = {"space": "mlp", "scheduler": scheduler, "evaluator": gate}
    (tmp_path / "long.yaml").write_text(json.dumps(experiment))  # JSON is YAML
    words = ["search", str(tmp_path / "long.yaml"), "--output", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "spark_nas.cli", *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        while not (tmp_path / "waiting").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        (tmp_path / "go").touch()
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == code
    assert re.fullmatch(f"spark-nas search: {said}\n", err)
    assert "search ended: " in out
    before = results(tmp_path / "long")
    assert 5 <= len(before) < 69
    assert command(*words).code == 0
    assert before == results(tmp_path / "long")[: len(before)]
    assert len(results(tmp_path / "long")) == 69


@pytest.mark.slow
@pytest.mark.parametrize("budget", [(), ("--time-budget", "2s")])
def test_a_search_is_ended_in_order_while_it_waits_for_the_lease_of_another(tmp_path: Path, budget: tuple[str, ...]):
    (tmp_path / "short.yaml").write_text("{space: mlp, scheduler: hyperband, evaluator: synthetic}")
    lease = Lease(LocalFiles(tmp_path / "short"), holder=Holder("elsewhere", 7), seconds=600)
    lease.acquire()
    words = ["search", str(tmp_path / "short.yaml"), "--output", str(tmp_path), *budget]
    process = subprocess.Popen(
        [sys.executable, "-m", "spark_nas.cli", *words], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True
    )
    try:
        while not (tmp_path / "short" / "run.json").exists():
            assert process.poll() is None
            time.sleep(0.01)
        if not budget:
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 75
    reason = "its time of 2 s is up" if budget else "SIGTERM"
    said = f"stopped ({reason}) before it handed out any job; the same command continues"
    assert f"spark-nas search: {said}\n" == err
    lease.renew()
    lease.check()


def test_a_time_budget_ends_a_search_in_order_with_exit_code_75(tmp_path: Path, command: Command):
    (tmp_path / "long.yaml").write_text("{space: mlp, scheduler: asha, evaluator: synthetic, budget: {jobs: 1000000}}")
    words = ["search", str(tmp_path / "long.yaml"), "--output", str(tmp_path)]
    for _ in range(2):  # the second time it continues, and gets its time again
        before = len(results(tmp_path / "long")) if (tmp_path / "long").exists() else 0
        answer = command(*words, "--time-budget", "1s")
        assert answer.code == 75
        assert "stopped (its time of 1 s is up) after" in answer.err
        assert len(results(tmp_path / "long")) > before


@pytest.mark.parametrize("word", ["--time-budget", "--grace"])
def test_a_time_that_is_none_is_refused(word: str, tmp_path: Path, command: Command):
    answer = command("search", "x.yaml", "--output", tmp_path, word, "soon")
    assert answer.code == 2
    assert "'soon': give a time such as 5h30m, 90m or 45s" in answer.err


def test_a_second_driver_is_refused_while_the_first_lives(tmp_path: Path, command: Command):
    (tmp_path / "short.yaml").write_text(
        "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
    )
    words = ["search", str(tmp_path / "short.yaml"), "--output", str(tmp_path)]
    with Lease(LocalFiles(tmp_path / "short")):
        answer = command(*words)
    assert answer.code == 75
    assert f"process {os.getpid()} on {socket.gethostname()} holds this run" in answer.err
    assert command(*words).code == 0
