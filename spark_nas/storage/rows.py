"""Rows of the results table: their columns, and results to Arrow and back.

By columns rather than row by row: a search spends this time for every group of results that it appends, and again for
every row when it is continued.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import pyarrow as pa  # type: ignore[import-untyped]

from spark_nas.search.records import CurvePoint, Job, JobKey, Result, Trial
from spark_nas.spaces.core import Architecture

SCHEMA_VERSION = 1

_METRICS = pa.map_(pa.string(), pa.float64())
_POINT = pa.struct([("resource", pa.int64()), ("loss", pa.float64()), ("metrics", _METRICS)])
_TEXTS = pa.map_(pa.string(), pa.string())

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
    (
        "curve",
        pa.list_(_POINT),
        "one entry a unit of resource trained by this job, also of a failed one: resource, loss, metrics",
    ),
    ("derived", pa.list_(pa.string()), "architectures (JSON) that a supernet proposes; empty otherwise"),
    ("error", pa.string(), "why it failed, and the tail of the traceback; null when completed"),
    ("asked", pa.int64(), "jobs handed out when this row was told: makes an asynchronous search replay exactly"),
    ("started_at", pa.timestamp("us", tz="UTC"), "when the job began (UTC)"),
    ("seconds", pa.float64(), "how long it took"),
    ("executor", pa.string(), "where it ran: host/pid, with the GPU's address where there is one"),
    ("attempt", pa.int64(), "1, or more when earlier attempts were lost with their worker"),
    ("environment", _TEXTS, "versions, code and device of the job where they differ from run.json"),
)
SCHEMA = pa.schema([(name, kind) for name, kind, _ in COLUMNS], metadata={"spark_nas": str(SCHEMA_VERSION)})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TO_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_REMEMBERED = 10_000
"""How many parsed values a `_Memory` keeps."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def to_table(results: Sequence[Result], asked: int, run_id: str, environment: Mapping[str, str]) -> pa.Table:
    """The rows of results; of each one's environment, what differs from `environment`."""
    jobs = [result.job for result in results]
    trials = [job.trial for job in jobs]
    starts = [job.start_from for job in jobs]
    derived = [[architecture.to_json() for architecture in result.derived] for result in results]
    own = [{k: v for k, v in r.environment.items() if environment.get(k) != v} for r in results]
    columns: dict[str, Sequence[object] | pa.Array] = {
        "run_id": [run_id] * len(jobs),
        "trial_id": [trial.trial_id for trial in trials],
        "bracket": [trial.bracket for trial in trials],
        "rung": [job.rung for job in jobs],
        "resource": [job.resource for job in jobs],
        "architecture": [trial.architecture.to_json() for trial in trials],
        "recipe": [_TO_JSON(dict(trial.recipe)) for trial in trials],
        "seed": [trial.seed for trial in trials],
        "start_trial_id": [start.trial_id if start else None for start in starts],
        "start_rung": [start.rung if start else None for start in starts],
        "status": [result.status for result in results],
        "loss": [result.loss for result in results],
        "metrics": _maps([result.metrics for result in results], _METRICS),
        "curve": _curves([result.curve for result in results]),
        "derived": derived,
        "error": [result.error for result in results],
        "asked": [asked] * len(jobs),
        "started_at": [(result.started_at - _EPOCH) // _MICROSECOND for result in results],
        "seconds": [result.seconds for result in results],
        "executor": [result.executor for result in results],
        "attempt": [result.attempt for result in results],
        "environment": _maps(own, _TEXTS),
    }
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in SCHEMA]
    return pa.Table.from_arrays(arrays, schema=SCHEMA)


class Reader:
    """Arrow batches back to results; keeps what it has parsed, as many rows share an architecture or a trial."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """`environment`: what `run.json` records, and rows leave out."""
        self._environment = dict(environment)
        self._architecture = _Memory[str, Architecture](Architecture.from_json)
        self._trial = _Memory[tuple[Any, ...], Trial](self._parse_trial)

    def results(self, batch: pa.RecordBatch) -> Iterator[tuple[Result, int]]:
        """Each row with its `asked`. Raises ValueError, TypeError or the like for values that make no result."""
        columns = {name: batch.column(name) for name in SCHEMA.names}
        lists = {name: column.to_pylist() for name, column in columns.items() if name not in _NESTED}
        when = columns["started_at"].cast(pa.int64()).to_pylist()
        metrics, curves = _dicts(columns["metrics"]), _points(columns["curve"])
        environments = _dicts(columns["environment"])
        trials = zip(*(lists[name] for name in ("trial_id", "architecture", "recipe", "seed", "bracket")), strict=True)
        for i, identity in enumerate(trials):
            start = lists["start_trial_id"][i]
            loss, own = lists["loss"][i], environments[i]
            yield (
                Result(
                    Job(
                        self._trial(identity),
                        lists["rung"][i],
                        lists["resource"][i],
                        None if start is None else JobKey(start, lists["start_rung"][i]),
                    ),
                    lists["status"][i],
                    math.nan if loss is None else loss,
                    metrics[i],
                    curves[i],
                    tuple(map(self._architecture, lists["derived"][i])),
                    lists["error"][i],
                    _EPOCH + timedelta(microseconds=when[i]),
                    lists["seconds"][i],
                    lists["executor"][i],
                    lists["attempt"][i],
                    {**self._environment, **own} if own else self._environment,
                ),
                lists["asked"][i],
            )

    def _parse_trial(self, identity: tuple[Any, ...]) -> Trial:
        trial_id, architecture, recipe, seed, bracket = identity
        return Trial(trial_id, self._architecture(architecture), json.loads(recipe), seed, bracket)


_NESTED = ("metrics", "curve", "environment", "started_at")


class _Memory(dict[K, V]):
    """A function's answers; it forgets them all when there are too many."""

    def __init__(self, function: Callable[[K], V]) -> None:
        super().__init__()
        self._function = function

    def __call__(self, key: K) -> V:
        return self[key]

    def __missing__(self, key: K) -> V:
        if len(self) >= _REMEMBERED:
            self.clear()
        value = self[key] = self._function(key)
        return value


def _offsets(lengths: Iterator[int]) -> pa.Array:
    return pa.array([0, *accumulate(lengths)], pa.int32())


def _maps(mappings: Sequence[Mapping[str, object]], kind: pa.MapType) -> pa.Array:
    keys = pa.array([key for mapping in mappings for key in mapping], kind.key_type)
    items = pa.array([item for mapping in mappings for item in mapping.values()], kind.item_type)
    return pa.MapArray.from_arrays(_offsets(map(len, mappings)), keys, items)


def _curves(curves: Sequence[Sequence[CurvePoint]]) -> pa.Array:
    points = [point for curve in curves for point in curve]
    values = [
        pa.array([point.resource for point in points], pa.int64()),
        pa.array([point.loss for point in points], pa.float64()),
        _maps([point.metrics for point in points], _METRICS),
    ]
    return pa.ListArray.from_arrays(_offsets(map(len, curves)), pa.StructArray.from_arrays(values, fields=list(_POINT)))


def _spans(array: pa.Array) -> Iterator[tuple[int, int]]:
    """Where each list or map of an array lies, counted from the first one's beginning."""
    offsets = array.offsets.to_pylist()
    first = offsets[0] if offsets else 0
    return ((begin - first, end - first) for begin, end in pairwise(offsets))


def _within(array: pa.Array, values: pa.Array) -> pa.Array:
    """Of all values, those that a (perhaps sliced) array of lists refers to."""
    offsets = array.offsets
    return values[offsets[0].as_py() : offsets[-1].as_py()] if len(offsets) else values


def _dicts(array: pa.MapArray) -> list[dict[str, Any]]:
    keys, items = (_within(array, values).to_pylist() for values in (array.keys, array.items))
    if not keys:
        return [{} for _ in range(len(array))]
    return [dict(zip(keys[begin:end], items[begin:end], strict=True)) for begin, end in _spans(array)]


def _points(array: pa.ListArray) -> list[tuple[CurvePoint, ...]]:
    structs = _within(array, array.values)
    resource, loss, metrics = structs.flatten()
    points = list(map(CurvePoint, resource.to_pylist(), loss.to_pylist(), _dicts(metrics)))
    return [tuple(points[begin:end]) for begin, end in _spans(array)]
