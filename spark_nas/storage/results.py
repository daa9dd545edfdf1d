"""The results table of a run: `results/part-NNNNNNNN.parquet`, append-only, one row a job.

Readable as it stands by Spark SQL, pandas and DuckDB. The columns are documented in `COLUMNS`, from which the
README's table is made. The key is (run_id, trial_id, rung).
"""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from spark_nas.errors import OutputError
from spark_nas.search.records import CurvePoint, Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture
from spark_nas.storage.files import Files

SCHEMA_VERSION = 1
_PART = re.compile(r"part-[0-9]{8}\.parquet")

_METRICS = pa.map_(pa.string(), pa.float64())
_POINT = pa.struct([("resource", pa.int64()), ("loss", pa.float64()), ("metrics", _METRICS)])

COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("run_id", pa.string(), "the run; with trial_id and rung the key of the row"),
    ("trial_id", pa.int64(), "numbered from 0 in the order of asking"),
    ("bracket", pa.int64(), "Hyperband bracket of the trial; 0 where there are none"),
    ("rung", pa.int64(), "0 for a trial's first job; each promotion adds 1"),
    ("resource", pa.int64(), "training so far, in all (epochs, unless the evaluator says otherwise)"),
    ("architecture", pa.string(), "JSON object: choice -> option, keys sorted; an open choice is left out"),
    ("recipe", pa.string(), "JSON object: hyperparameter -> value, keys sorted"),
    ("seed", pa.int64(), "the trial's seed: all randomness of its training"),
    ("start_trial_id", pa.int64(), "with start_rung, the job whose checkpoint this one continued; null from scratch"),
    ("start_rung", pa.int64(), "see start_trial_id"),
    ("status", pa.string(), "completed or failed"),
    ("loss", pa.float64(), "the objective at `resource`, lower is better; NaN for a failed job"),
    ("metrics", _METRICS, "further measurements at `resource`"),
    ("curve", pa.list_(_POINT), "one entry a unit of resource trained by this job: resource, loss, metrics"),
    ("derived", pa.list_(pa.string()), "architectures (JSON) that a supernet proposes; empty otherwise"),
    ("error", pa.string(), "why it failed, and the tail of the traceback; null when completed"),
    ("asked", pa.int64(), "jobs handed out when this row was told: makes an asynchronous search replay exactly"),
    ("started_at", pa.timestamp("us", tz="UTC"), "when the job began (UTC)"),
    ("seconds", pa.float64(), "how long it took"),
    ("executor", pa.string(), "where it ran: host/pid, with the GPU's address where there is one"),
    ("attempt", pa.int64(), "1, or more when earlier attempts were lost with their worker"),
    (
        "environment",
        pa.map_(pa.string(), pa.string()),
        "versions and device of the job where they differ from run.json",
    ),
)
SCHEMA = pa.schema([(name, kind) for name, kind, _ in COLUMNS], metadata={"spark_nas": str(SCHEMA_VERSION)})


class ParquetLog:
    """`search.protocols.ResultLog` as Parquet parts. One writer a run: the driver.

    `environment` is what `run.json` records; rows keep only what differs from it.
    """

    def __init__(self, files: Files, run_id: str, environment: Mapping[str, str] | None = None) -> None:
        self._files, self._run_id = files, run_id
        self._environment = dict(environment or {})
        names = _parts(files)
        self._next = int(names[-1][5:13]) + 1 if names else 0

    def append(self, results: Sequence[Result], asked: int) -> None:
        """Write one part, durably. Raises OutputError when the part is there: another driver is writing."""
        rows = [_row(result, asked, self._run_id, self._environment) for result in results]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), buffer)
        name = f"results/part-{self._next:08d}.parquet"
        if not self._files.write_new(name, buffer.getvalue()):
            raise OutputError(f"{self._files.root}/{name} is there already: does another driver run {self._run_id!r}?")
        self._next += 1

    def rows(self) -> Iterator[tuple[Result, int]]:
        """Every row with its `asked`, in the order of appending."""
        for row in read_table(self._files).to_pylist(maps_as_pydicts="strict"):
            yield _result(row, self._environment), row["asked"]


def read_table(files: Files) -> pa.Table:
    """All parts as one table. Raises OutputError, naming the file, when a part cannot be read."""
    tables = []
    for name in _parts(files):
        content = files.read(f"results/{name}")
        try:
            # In this thread: pyarrow's own may still hold the Python buffer when the interpreter ends, and abort it.
            with pq.ParquetFile(io.BytesIO(content or b""), pre_buffer=False) as part:
                table = part.read(use_threads=False)
            version = (table.schema.metadata or {}).get(b"spark_nas", b"?").decode()
            if version != str(SCHEMA_VERSION):
                raise OutputError(
                    f"{files.root}/results/{name} has results of schema {version}, this version reads {SCHEMA_VERSION}"
                )
            tables.append(table.cast(SCHEMA))
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise OutputError(f"{files.root}/results/{name} is not a results part: {reason}") from error
    return pa.concat_tables(tables) if tables else SCHEMA.empty_table()


def _parts(files: Files) -> list[str]:
    return [name for name in files.list("results") if _PART.fullmatch(name)]


def _row(result: Result, asked: int, run_id: str, environment: Mapping[str, str]) -> dict[str, Any]:
    job, trial = result.job, result.job.trial
    return {
        "run_id": run_id,
        "trial_id": trial.trial_id,
        "bracket": trial.bracket,
        "rung": job.rung,
        "resource": job.resource,
        "architecture": trial.architecture.to_json(),
        "recipe": json.dumps(dict(trial.recipe), sort_keys=True, separators=(",", ":")),
        "seed": trial.seed,
        "start_trial_id": job.start_from.trial_id if job.start_from else None,
        "start_rung": job.start_from.rung if job.start_from else None,
        "status": result.status,
        "loss": result.loss,
        "metrics": dict(result.metrics),
        "curve": [{"resource": p.resource, "loss": p.loss, "metrics": dict(p.metrics)} for p in result.curve],
        "derived": [architecture.to_json() for architecture in result.derived],
        "error": result.error,
        "asked": asked,
        "started_at": result.started_at,
        "seconds": result.seconds,
        "executor": result.executor,
        "attempt": result.attempt,
        "environment": {k: v for k, v in result.environment.items() if environment.get(k) != v},
    }


def _result(row: Mapping[str, Any], environment: Mapping[str, str]) -> Result:
    trial = Trial(
        row["trial_id"],
        Architecture.from_json(row["architecture"]),
        json.loads(row["recipe"]),
        row["seed"],
        row["bracket"],
    )
    start = None if row["start_trial_id"] is None else JobKey(row["start_trial_id"], row["start_rung"])
    return Result(
        job=Job(trial, row["rung"], row["resource"], start),
        status=row["status"],
        loss=math.nan if row["loss"] is None else row["loss"],
        metrics=row["metrics"],
        curve=tuple(CurvePoint(p["resource"], p["loss"], p["metrics"]) for p in row["curve"]),
        derived=tuple(map(Architecture.from_json, row["derived"])),
        error=row["error"],
        started_at=row["started_at"].astimezone(UTC),
        seconds=row["seconds"],
        executor=row["executor"],
        attempt=row["attempt"],
        environment={**environment, **row["environment"]},
    )
