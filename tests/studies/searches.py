"""Small real searches on the digits, run by the command itself, and their tables without times and places."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from spark_nas.cli import main
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import read_table

RUN_ID = "r"
LOCAL = "engine={name: local}"
ROUNDS = "engine={name: spark_rounds}"

_SPACES = {
    "mlp": "{name: mlp, max_layers: 2, min_units: 8, max_units: 32}",
    "cell": "{name: nas_bench_201, channels: 4, cells: 1}",
}
_VARYING = {"started_at", "seconds", "executor", "asked", "attempt"}


def write_experiment(folder: Path, space: str, data: Path) -> Path:
    """Hyperband, R = 9 and eta = 3: 17 trials in 22 jobs; a learning rate of 1e30 makes some of them diverge."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{space}.yaml"
    file.write_text(f"""
space: {_SPACES[space]}
recipe:
  learning_rate: {{choice: [0.03, 0.1, 1e30]}}
  batch_size: {{choice: [128, 256]}}
scheduler: {{name: hyperband, max_resource: 9, eta: 3}}
evaluator: {{name: training, nesterov: true}}
data: {{path: {json.dumps(str(data))}}}
""")
    return file


def arguments(experiment: Path, output: Path, settings: Sequence[str]) -> list[str]:
    """The command line of a search that keeps all checkpoints, so that its log may be cut anywhere afterwards."""
    sets = [part for setting in settings for part in ("--set", setting)]
    return ["search", str(experiment), "--output", str(output), "--run-id", RUN_ID, "--keep-checkpoints", *sets]


def search(experiment: Path, output: Path, *settings: str) -> list[str]:
    """Search, or go on searching, in this process; returns the table."""
    code = main(arguments(experiment, output, settings))
    assert 0 == code
    return table(output)


def table(output: Path) -> list[str]:
    """The rows by key, every float in full (and NaN equal to NaN), without times, places and numbers of attempts."""
    rows = rows_of(output)
    kept = [{name: value for name, value in row.items() if name not in _VARYING} for row in rows]
    return [repr(row) for row in sorted(kept, key=lambda row: (row["trial_id"], row["rung"]))]


def rows_of(output: Path) -> list[dict[str, object]]:
    """The rows of the run in `output`, in the order of the log."""
    rows: list[dict[str, object]] = read_table(LocalFiles(output / RUN_ID)).to_pylist(maps_as_pydicts="strict")
    return rows


def cut(output: Path, to: Path, rows: int, *, keep_commits: bool) -> None:
    """Copy a run as it was after the first `rows` rows of its log, in one part.

    The driver died there: with `keep_commits` the executors went on and finished all that the run ever finished,
    without they had committed no more than the log shows.
    """
    shutil.copytree(output / RUN_ID, to / RUN_ID, ignore=shutil.ignore_patterns("results"))
    whole: pa.Table = read_table(LocalFiles(output / RUN_ID))
    prefix = whole.slice(0, rows)
    (to / RUN_ID / "results").mkdir()
    if rows:
        pq.write_table(prefix, to / RUN_ID / "results/part-00000000.parquet")
    if not keep_commits:
        known = {(row["trial_id"], row["rung"]) for row in prefix.to_pylist()}
        for commit in (to / RUN_ID / "checkpoints").glob("*/*"):
            if (int(commit.parent.name), int(commit.name)) not in known:
                shutil.rmtree(commit)
