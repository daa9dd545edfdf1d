"""Runs a contestant on a workload, in a process tree of its own with a time-out; reads what its objectives logged."""

from __future__ import annotations

import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import contention
from benchmarks.orchestration.analysis import analyse, count_files
from benchmarks.orchestration.contestants import Contestant
from benchmarks.orchestration.environments import NotInstalled, java_home, python_of, variables
from benchmarks.orchestration.objective import Workload

_MARGIN = 60.0
"""Seconds that the warden has for ending what it has watched."""
_TAIL = 160


@dataclasses.dataclass(frozen=True)
class Run:
    """One call of one contestant. Numbers by name; `failure` says what went wrong, if anything did."""

    contestant: str
    workload: str
    asked: int
    """Trials it was asked for."""
    numbers: dict[str, float]
    """Those of `analysis.Orchestration`, and what the warden, the call and the machine say."""
    files: dict[str, int]
    """What it left on disk, by folder."""
    failure: str = ""


def run(contestant: Contestant, workload: Workload, timeout: float, keep: Path | None = None) -> Run:
    """Run it once. Never raises for what a contestant does. `keep`: a folder that keeps all it left."""
    workload = dataclasses.replace(workload, trials=min(workload.trials, contestant.trials.get(workload.name, 10**9)))
    empty = functools.partial(Run, contestant.name, workload.name, workload.trials, {}, {})
    if reason := contestant.refuses.get(workload.name):
        return empty(failure=f"not run: {reason}")
    try:
        python = python_of(contestant.environment)
        if contestant.spark:
            java_home()
    except NotInstalled as error:
        return empty(failure=f"cannot be installed: {error}")
    with tempfile.TemporaryDirectory(prefix="orchestration-", ignore_cleanup_errors=True) as place:
        folder = keep or Path(place)
        return _run(contestant, workload, timeout, python, folder)


def _run(contestant: Contestant, workload: Workload, timeout: float, python: Path, folder: Path) -> Run:
    work = folder / "work"
    work.mkdir(parents=True)
    settings = [f"{key}={value}" for key, value in contestant.settings.items()]
    inner = [str(python), "-m", "benchmarks.orchestration.run", contestant.module, json.dumps(workload.as_dict())]
    command = [sys.executable, "-m", "benchmarks.orchestration.warden", str(timeout), *inner, str(folder), *settings]
    before = contention()
    with (folder / "stderr").open("w", encoding="utf-8") as said:
        watched = subprocess.run(
            command,
            cwd=work,
            env=variables(python, spark=contestant.spark),
            stdout=subprocess.PIPE,
            stderr=said,
            check=True,
            timeout=timeout + _MARGIN,
        )
    after = contention()
    return report(contestant, workload, folder, json.loads(watched.stdout), timeout, (before, after))


def report(
    contestant: Contestant,
    workload: Workload,
    folder: Path,
    watched: dict[str, Any],
    timeout: float,
    noise: tuple[float, float],
) -> Run:
    """What came of a run, from its folder and what the warden saw."""
    account = folder / "call.json"
    call = json.loads(account.read_text(encoding="utf-8")) if account.exists() else {}
    failure = ""
    if watched["code"] is None:
        failure = f"did not end in {timeout:g} s, and was killed"
    elif watched["code"] or not call:
        failure = f"failed ({watched['code']}): {_last_words(folder / 'stderr')}"
    whole = call.get("seconds", watched["wall"])
    found = analyse(folder, workload, spawned=watched["spawned"], call=whole)
    numbers: dict[str, float] = dataclasses.asdict(found) if found else {}
    numbers |= {"call": whole, "cpu": watched["cpu"], "left_behind": watched["left_behind"]}
    numbers |= {"contention_before": noise[0], "contention_after": noise[1], "contention": statistics.mean(noise)}
    if call:
        numbers["driver_megabytes"] = call["driver_megabytes"]
        if contestant.spark:
            numbers["over_spark"] = call["driver_megabytes"] - spark_megabytes(contestant.environment)
    files = count_files(folder / contestant.home)
    if beside := sum(count_files(folder / "work").values()):
        files["beside"] = beside
    numbers["files"] = sum(files.values())
    return Run(contestant.name, workload.name, workload.trials, numbers, files, failure)


@functools.cache
def spark_megabytes(environment: str | None) -> float:
    """The most resident memory of a Python driver that only opens Spark and runs a job, in that environment."""
    itself = Contestant("spark", "Spark itself", "spark_itself", environment)
    python = python_of(environment)
    with tempfile.TemporaryDirectory(prefix="orchestration-") as place:
        subprocess.run(
            [
                *(str(python), "-m", "benchmarks.orchestration.run", itself.module),
                *(json.dumps(Workload("spark", 0, 2, 0.0).as_dict()), place),
            ],
            cwd=place,
            env=variables(python, spark=True),
            check=True,
            capture_output=True,
        )
        return float(json.loads(Path(place, "call.json").read_text(encoding="utf-8"))["driver_megabytes"])


def _last_words(file: Path) -> str:
    """The line that most likely says why: the last of an exception."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line or "Exception" in line]
    return ((errors or lines or ["it said nothing"])[-1])[:_TAIL].replace("|", "/")


@dataclasses.dataclass(frozen=True)
class Row:
    """All runs of one contestant on one workload."""

    contestant: Contestant
    runs: Sequence[Run]

    @property
    def failure(self) -> str:
        """Of the first run that failed."""
        return next((run.failure for run in self.runs if run.failure), "")

    @property
    def complete(self) -> bool:
        """Whether every run ended by itself and left an account: only then does it count in a comparison."""
        return not self.failure

    def values(self, name: str) -> list[float]:
        """A number of every run that has it."""
        return [run.numbers[name] for run in self.runs if name in run.numbers]

    def median(self, name: str) -> float | None:
        """The median over the runs; None where no run has it."""
        values = self.values(name)
        return statistics.median(values) if values else None
