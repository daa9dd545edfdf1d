"""The command: every contestant on every workload, beside one another, in one call.

    python benchmarks/orchestration.py                           # everything; about half an hour on 2 quiet cores
    python benchmarks/orchestration.py --quick                   # few trials: does it all run?
    python benchmarks/orchestration.py --only ours,optuna --workloads noop-2,asha-8 --repeat 3

A rival's virtual environment is made at its first use, from benchmarks/requirements-NAME.txt, under .benchmarks/.
Workloads are the outer loop, so that those whose numbers stand in one table ran close to one another.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import machine
from benchmarks.orchestration.contestants import CONTESTANTS, WORKLOADS, Contestant
from benchmarks.orchestration.environments import CACHE
from benchmarks.orchestration.harness import Row, Run, run
from benchmarks.orchestration.objective import Workload
from benchmarks.orchestration.tables import print_aims, print_workload

_QUICK_TRIALS, _QUICK_SLOW_TRIALS = 40, 10
_QUICK_CONFIGURATIONS = 81
"""The fewest of which ASHA brings one to R."""
_QUICK = ("noop-2", "50ms-8", "asha-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for, print the tables and the aims, write the JSON."""
    chosen = _parse(arguments)
    workloads = [_sized(WORKLOADS[name], quick=chosen.quick) for name in chosen.workloads]
    contestants = [_limited(CONTESTANTS[name], quick=chosen.quick) for name in chosen.only]
    print(machine() + "\n", flush=True)
    results: dict[str, dict[str, Row]] = {}
    for workload in workloads:
        results[workload.name] = {
            contestant.name: _repeated(contestant, workload, chosen)
            for contestant in contestants
            if contestant.takes_part(workload.name)
        }
        print_workload(workload, results[workload.name])
        _write(chosen.json, results)  # after each table, so that an interruption loses no more than one
    if chosen.quick:
        print("So few trials say nothing about the aims.\n")
    else:
        print_aims(results)
    print(machine())
    return 0


def _repeated(contestant: Contestant, workload: Workload, chosen: argparse.Namespace) -> Row:
    """All runs of it; one that cannot run is not tried again."""
    runs: list[Run] = []
    for number in range(chosen.repeat):
        print(f"{workload.name}: {contestant.name}, run {number + 1} of {chosen.repeat}", file=sys.stderr, flush=True)
        keep = Path(chosen.keep, f"{workload.name}-{contestant.name}-{number}") if chosen.keep else None
        runs.append(run(contestant, workload, chosen.timeout, keep))
        if not runs[-1].numbers:
            break
    return Row(contestant, runs)


def _sized(workload: Workload, *, quick: bool) -> Workload:
    few = _QUICK_CONFIGURATIONS if workload.early_stopping else _QUICK_TRIALS
    return dataclasses.replace(workload, trials=min(workload.trials, few)) if quick else workload


def _limited(contestant: Contestant, *, quick: bool) -> Contestant:
    fewer = {name: min(trials, _QUICK_SLOW_TRIALS) for name, trials in contestant.trials.items()}
    return dataclasses.replace(contestant, trials=fewer) if quick else contestant


def _write(place: Path, results: Mapping[str, Mapping[str, Row]]) -> None:
    runs = [dataclasses.asdict(run) for rows in results.values() for row in rows.values() for run in row.runs]
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(runs, indent=1), encoding="utf-8")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/orchestration.py", description="spark_nas beside its rivals.")
    parser.add_argument("--only", type=_Names(CONTESTANTS), help=f"contestants, of {','.join(CONTESTANTS)}")
    parser.add_argument("--workloads", type=_Names(WORKLOADS), help=f"of {','.join(WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="few trials: whether it all runs, not how fast")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each; tables then show median (min–max)")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds of one run, before it is killed")
    parser.add_argument("--json", type=Path, default=CACHE / "orchestration.json", help="where every run's numbers go")
    parser.add_argument("--keep", help="a new folder that keeps the logs and outputs of all runs")
    chosen = parser.parse_args(arguments)
    chosen.only = chosen.only or list(CONTESTANTS)
    chosen.workloads = chosen.workloads or (list(_QUICK) if chosen.quick else list(WORKLOADS))
    if chosen.repeat < 1:
        parser.error("--repeat: must be at least 1")
    return chosen


class _Names:
    """A comma-separated list of known names."""

    def __init__(self, known: Mapping[str, object]) -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        names = text.split(",")
        for name in names:
            if name not in self._known:
                raise argparse.ArgumentTypeError(f"{name!r}: one of {', '.join(self._known)}")
        return names


if __name__ == "__main__":
    sys.exit(main())
