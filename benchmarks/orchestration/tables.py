"""Rows of runs as markdown tables, and the aims beside what was measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import print_table, short
from benchmarks.orchestration.contestants import Contestant
from benchmarks.orchestration.harness import Row
from benchmarks.orchestration.objective import Workload

Results = Mapping[str, Mapping[str, Row]]
"""Workload -> contestant -> row."""

_COMMON = (
    ("whole call, s", "call"),
    ("CPU s", "cpu"),
    ("to the first, s", "first"),
    ("processes", "processes"),
    ("driver, MB", "driver_megabytes"),
    ("over Spark's, MB", "over_spark"),
    ("files", "files"),
    ("contention", "contention"),
)
_NOOP = (("trials/s", "per_second"), *_COMMON)
_SLEEP = (("efficiency, steady", "efficiency"), ("whole", "efficiency_whole"), ("trials/s", "per_second"), *_COMMON)
_ASHA = (
    ("worker use", "use"),
    ("of it asked for", "efficiency"),
    ("epochs", "epochs"),
    ("repeated", "repeated"),
    ("at R", "at_max"),
    ("best loss", "best"),
    *_COMMON,
)


def columns(workload: Workload) -> Sequence[tuple[str, str]]:
    """Heading and name of each number that a workload's table shows."""
    if workload.early_stopping:
        return _ASHA
    return _SLEEP if workload.seconds else _NOOP


def title(workload: Workload) -> str:
    """What is to be done, in words."""
    if workload.early_stopping:
        what = f"ASHA: {workload.trials} configurations, eta {workload.eta}, r 1, R {workload.max_resource}, epochs of "
        what += f"{1000 * workload.seconds:g} ms times exp(N(0, {workload.spread:g}))"
    else:
        what = f"{workload.trials} trials of " + (f"{1000 * workload.seconds:g} ms" if workload.seconds else "nothing")
    return f"{what}, {workload.workers} workers"


def print_workload(workload: Workload, rows: Mapping[str, Row]) -> None:
    """One table; a contestant that failed has its reason in the last column."""
    shown = columns(workload)
    print(f"### {title(workload)}\n")
    table = [
        [row.contestant.title, _trials(row), *(cell(row, name) for _, name in shown), _note(row)]
        for row in rows.values()
    ]
    print_table(("", "trials", *(heading for heading, _ in shown), "note"), table)


def cell(row: Row, name: str) -> str:
    """The median, and with several runs the lowest and the highest."""
    values = row.values(name)
    if not values:
        return "–"
    middle = short(row.median(name))
    return middle if len(values) == 1 else f"{middle} ({short(min(values))}–{short(max(values))})"


def _trials(row: Row) -> str:
    done = row.median("trials")
    asked = row.runs[0].asked
    return str(asked) if done == asked else f"{short(done or 0)} of {asked}"


def _note(row: Row) -> str:
    notes = [row.failure] if row.failure else []
    if left := row.median("left_behind"):
        notes.append(f"{short(left)} processes outlived it")
    if row.contestant.home == "out/run" and row.runs[-1].files:
        notes.append("files: " + ", ".join(f"{name} {count}" for name, count in row.runs[-1].files.items()))
    return "; ".join(notes)


@dataclass(frozen=True)
class Aim:
    """What is aimed at, and how it is measured: a number (None when there is none here) and whether it is enough."""

    text: str
    measure: Callable[[Results], float | None]
    met: Callable[[float], bool]


def number(workload: str, contestant: str, name: str) -> Callable[[Results], float | None]:
    """The median of one complete row."""

    def found(results: Results) -> float | None:
        row = results.get(workload, {}).get(contestant)
        return row.median(name) if row is not None and row.complete else None

    return found


def ratio(contestant: str, of: Callable[[Contestant], bool]) -> Callable[[Results], float | None]:
    """A contestant's no-op trials a second over those of the best rival that `of` picks."""

    def found(results: Results) -> float | None:
        ours = number("noop-2", contestant, "per_second")(results)
        rates = [
            row.median("per_second") or 0.0
            for row in results.get("noop-2", {}).values()
            if row.contestant.rival and row.complete and of(row.contestant)
        ]
        return ours / max(rates) if ours and rates and max(rates) > 0 else None

    return found


def table_files(results: Results) -> float | None:
    """Files of our results table, the most of any run; None where one has no table."""
    row = results.get("noop-2", {}).get("ours")
    if row is None or not row.complete or not all("results" in run.files for run in row.runs):
        return None
    return float(max(run.files["results"] for run in row.runs))


def most(contestant: str, name: str) -> Callable[[Results], float | None]:
    """The largest median over all workloads."""

    def found(results: Results) -> float | None:
        values = [number(workload, contestant, name)(results) for workload in results]
        return max((value for value in values if value is not None), default=None)

    return found


AIMS: Sequence[Aim] = (
    Aim(
        "no-op trials/s, whole path, durable log: ≥ 1,000", number("noop-2", "ours", "per_second"), lambda x: x >= 1000
    ),
    Aim("times the best rival's: ≥ 2", ratio("ours", lambda rival: True), lambda x: x >= 2),
    Aim("times the best Spark rival's: ≥ 1,000", ratio("ours", lambda rival: rival.spark), lambda x: x >= 1000),
    Aim("efficiency, 50 ms, 8 workers, steady: ≥ 0.95", number("50ms-8", "ours", "efficiency"), lambda x: x >= 0.95),
    Aim("worker use under ASHA: ≥ 0.8", number("asha-8", "ours", "use"), lambda x: x >= 0.8),
    Aim("epochs repeated under ASHA: 0", number("asha-8", "ours", "repeated"), lambda x: x == 0),
    Aim("configurations at R under ASHA: 2 to 4", number("asha-8", "ours", "at_max"), lambda x: 2 <= x <= 4),
    Aim("files of the results table, 200 trials: < 20", table_files, lambda x: x < 20),
    Aim("files in all, 200 no-op trials: < 20", number("noop-2", "ours", "files"), lambda x: x < 20),
    Aim("driver memory over Spark's own, MB: ≤ 120", most("ours", "over_spark"), lambda x: x <= 120),
    Aim("without the channel, times the best rival's: ≥ 2", ratio("ours-no-channel", lambda _: True), lambda x: x >= 2),
    Aim(
        "without the channel, efficiency, 800 trials of 50 ms: ≥ 0.6",
        number("50ms-8-long", "ours-no-channel", "efficiency"),
        lambda x: x >= 0.6,
    ),
)


def print_aims(results: Results) -> None:
    """Each aim, what was measured, and whether it is met; nothing is claimed of what was not run."""
    print("### Aims\n")
    table = []
    for aim in AIMS:
        measured = aim.measure(results)
        verdict = "not measured" if measured is None else "met" if aim.met(measured) else "**missed**"
        table.append([aim.text, "–" if measured is None else measured, verdict])
    print_table(("aim", "measured", ""), table)
