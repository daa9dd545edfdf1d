"""What the orchestration benchmark says of a run is what the objectives logged, and nobody outlives or hangs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.orchestration import environments
from benchmarks.orchestration.analysis import Orchestration, analyse, count_files, read_log
from benchmarks.orchestration.contestants import CONTESTANTS, WORKLOADS, Contestant, requirements
from benchmarks.orchestration.harness import Row, Run, run
from benchmarks.orchestration.objective import LOG, SPACE, Configuration, Workload, draw, train, train_epoch
from benchmarks.orchestration.tables import AIMS, cell, ratio

ASHA = WORKLOADS["asha-8"]
SECOND = 10**9


def write_log(folder: Path, pid: int, *lines: str) -> None:
    (folder / LOG).mkdir(exist_ok=True)
    (folder / LOG / str(pid)).write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


def test_numbers_are_those_of_the_log(tmp_path: Path):
    write_log(
        tmp_path,
        11,
        f"S x 1 {100 * SECOND}",
        f"E x 1 {102 * SECOND} 1.5 0.5",
        f"S x 2 {104 * SECOND}",
        f"E x 2 {106 * SECOND} 1.5 0.25",
    )
    write_log(
        tmp_path,
        12,
        f"S y 1 {101 * SECOND}",
        f"E y 1 {103 * SECOND} 2.0 0.75",
        f"S x 1 {108 * SECOND}",
        f"E x 1 {110 * SECOND} 1.0 0.5",
        f"S z 1 {109 * SECOND}",
    )
    workload = Workload("two", trials=2, workers=2, seconds=1.0, max_resource=2)
    expected = Orchestration(
        trials=2,
        epochs=4,
        repeated=1,
        unfinished=1,
        at_max=1,
        best=0.25,
        span=10.0,
        per_second=0.2,
        efficiency=6.0 / 20,
        efficiency_whole=6.0 / 40,
        use=8.0 / 20,
        processes=2,
        first=7.0,
    )
    assert expected == analyse(tmp_path, workload, spawned=93.0, call=20.0)


def test_a_run_without_an_epoch_has_no_numbers(tmp_path: Path):
    assert analyse(tmp_path, ASHA, spawned=0.0, call=1.0) is None


def test_a_log_that_makes_no_sense_is_not_measured(tmp_path: Path):
    write_log(tmp_path, 11, f"E x 1 {SECOND} 1.5 0.5")
    with pytest.raises(ValueError, match="never began"):
        read_log(tmp_path)


def test_files_are_counted_by_folder(tmp_path: Path):
    for name in ("run.json", "results/a.parquet", "results/b.parquet", "commits/0/0.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert {".": 1, "results": 2, "commits": 1} == count_files(tmp_path)


def test_the_work_depends_on_configuration_and_epoch_alone():
    configurations = [draw(number) for number in range(50)]
    assert configurations == [draw(number) for number in range(50)]
    assert 50 == len({configuration.identity for configuration in configurations})
    for configuration in configurations:
        assert all(low <= getattr(configuration, name) <= high for name, (low, high) in SPACE.items())
        losses = [configuration.loss(epoch) for epoch in (1, 3, 9, 27, 81)]
        assert sorted(losses, reverse=True) == losses
    seconds = [configuration.seconds(ASHA, epoch) for configuration in configurations for epoch in range(1, 21)]
    assert seconds == [again.seconds(ASHA, epoch) for again in configurations for epoch in range(1, 21)]
    assert 0.011 < sum(seconds) / len(seconds) < 0.0117  # exp(0.5² / 2) = 1.133 times 10 ms


def test_a_logged_epoch_is_read_back(tmp_path: Path):
    configuration = Configuration(0.5, 0.25, 1.0)
    short = Workload("short", 1, 1, 0.001, max_resource=2)
    assert 0.5 + 0.125 == train(short, tmp_path, configuration)
    train_epoch(short, tmp_path, configuration, 1)
    epochs, unfinished = read_log(tmp_path)
    assert 0 == unfinished
    assert [1, 2, 1] == [epoch.epoch for epoch in epochs]
    assert {(os.getpid(), configuration.identity, 0.001)} == {(e.pid, e.configuration, e.asked) for e in epochs}
    assert all(epoch.end - epoch.start >= 0.001 for epoch in epochs)


IMPATIENT = """
import json, sys
from benchmarks.orchestration import warden
warden._PATIENCE = 0.2
warden.prepare()
print(json.dumps(warden.run(sys.argv[2:], float(sys.argv[1]))))
"""


def watch(seconds: float, script: str, *, impatient: bool = False) -> dict[str, float | None]:
    warden = ["-c", IMPATIENT] if impatient else ["-m", "benchmarks.orchestration.warden"]
    command = [sys.executable, *warden, str(seconds), sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    said: dict[str, float | None] = json.loads(done.stdout)
    return said


@pytest.mark.slow
def test_the_time_out_ends_a_whole_tree(tmp_path: Path):
    note = tmp_path / "pid"
    script = f"""
import os, pathlib, time
if os.fork() == 0:
    os.setsid()
    pathlib.Path({str(note)!r}).write_text(str(os.getpid()))
time.sleep(600)
"""
    assert watch(3, script)["code"] is None
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)


@pytest.mark.slow
def test_what_a_command_leaves_behind_is_counted_with_its_processor_time():
    script = """
import os, time
reading, writing = os.pipe()
if os.fork() == 0:
    os.setsid()
    while time.process_time() < 0.5:
        pass
    os.write(writing, b"!")
    time.sleep(600)
os.read(reading, 1)
os._exit(7)
"""
    said = watch(50, script, impatient=True)
    assert (7, 1) == (said["code"], said["left_behind"])
    assert said["cpu"] is not None
    assert said["cpu"] >= 0.5


@pytest.mark.slow
def test_a_process_pool_through_the_whole_harness():
    done = run(CONTESTANTS["pool"], Workload("noop-2", 30, 2, 0.0), timeout=100)
    assert "" == done.failure
    assert (30, 30, 0, 0) == tuple(done.numbers[name] for name in ("trials", "epochs", "repeated", "files"))
    assert done.numbers["processes"] <= 2
    assert 0 < done.numbers["span"] < done.numbers["call"]
    assert done.numbers["cpu"] > 0
    assert done.numbers["driver_megabytes"] > 10
    assert done.numbers["contention_before"] >= 0.9


@pytest.mark.slow
@pytest.mark.exhaustive
def test_asha_on_a_process_pool_repeats_nothing_and_brings_few_to_the_end():
    done = run(CONTESTANTS["pool"], replace(ASHA, trials=81, seconds=0.001), timeout=100)
    assert "" == done.failure
    assert (81, 0) == (done.numbers["trials"], done.numbers["repeated"])
    assert 1 <= done.numbers["at_max"] <= 4
    assert 0 < done.numbers["efficiency"] <= done.numbers["use"] <= 1


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_that_fails_or_hangs_is_a_row_that_says_so():
    nobody = Contestant("nobody", "nobody", "no_such_module")
    assert "No module named 'benchmarks.orchestration.rivals.no_such_module'" in run(nobody, ASHA, timeout=100).failure
    endless = Workload("endless", 1, 1, 600.0)
    hung = run(CONTESTANTS["pool"], endless, timeout=5)
    assert "did not end in 5 s, and was killed" == hung.failure
    assert hung.numbers["call"] >= 5


@pytest.mark.slow
@pytest.mark.exhaustive
def test_one_that_cannot_be_installed_is_a_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wanted = tmp_path / "requirements.txt"
    wanted.write_text("-r nowhere.txt\n")
    monkeypatch.setattr(environments, "CACHE", tmp_path / "cache")
    monkeypatch.setattr(environments, "requirements", lambda name: wanted)
    row = run(Contestant("lost", "lost", "nothing", "a-test's"), ASHA, timeout=10)
    assert row.failure.startswith("cannot be installed: ERROR: ")
    assert "nowhere.txt" in row.failure
    assert {} == row.numbers


def test_one_that_has_no_way_is_not_run():
    assert "not run: it has no early stopping" == run(CONTESTANTS["hyperopt"], ASHA, timeout=1).failure


def test_every_rival_has_its_versions_pinned():
    for contestant in CONTESTANTS.values():
        if contestant.environment is not None:
            lines = requirements(contestant.environment).read_text(encoding="utf-8").splitlines()
            pins = [line for line in lines if not line.startswith("#")]
            assert pins
            assert all(2 == len(pin.split("==")) for pin in pins)
        for workload, trials in contestant.trials.items():
            assert trials < WORKLOADS[workload].trials


def row(name: str, *rates: float, failure: str = "") -> Row:
    runs = [Run(name, "noop-2", 200, {"per_second": rate, "trials": 200.0}, {}, failure) for rate in rates]
    return Row(CONTESTANTS[name], runs)


def test_an_aim_compares_with_the_best_that_finished():
    rows = [row("ours", 900.0, 1000.0, 1300.0), row("optuna", 100.0), row("ray", 800.0, failure="hung")]
    rows += [row("mlflow", 2.0), row("pool", 9000.0)]
    results = {"noop-2": {each.contestant.name: each for each in rows}}
    assert 10.0 == ratio("ours", lambda rival: True)(results)
    assert 500.0 == ratio("ours", lambda rival: rival.spark)(results)
    assert ratio("ours-no-channel", lambda rival: True)(results) is None
    assert "1,000 (900–1,300)" == cell(rows[0], "per_second")
    assert "–" == cell(rows[0], "cpu")
    measured = {aim.text: aim.measure(results) for aim in AIMS}
    assert len(AIMS) == len(measured)
    assert {1000.0, 10.0, 500.0, None} == set(measured.values())
