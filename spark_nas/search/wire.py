"""Jobs and results as JSON text: how they travel between driver and executors, and into commit files.

JSON and never pickle, so that nothing read back can run code. Floats keep every bit (`repr` round-trips);
NaN and infinities are written as the strings Python's `float` reads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

from spark_nas.search.records import CurvePoint, Job, JobKey, Result, Status, Trial
from spark_nas.spaces.core import Architecture

_STATUSES: tuple[Status, ...] = get_args(Status)


def job_to_json(job: Job) -> str:
    """One line, keys sorted."""
    return _dump(_job(job))


def job_from_json(text: str) -> Job:
    """The inverse of `job_to_json`. Raises ValueError for anything else."""
    return _job_back(_parse(text))


def result_to_json(result: Result) -> str:
    """One line, keys sorted."""
    return _dump(
        {
            "job": _job(result.job),
            "status": result.status,
            "loss": _number(result.loss),
            "metrics": _numbers(result.metrics),
            "curve": [[p.resource, _number(p.loss), _numbers(p.metrics)] for p in result.curve],
            "derived": [dict(a) for a in result.derived],
            "error": result.error,
            "started_at": result.started_at.isoformat(),
            "seconds": result.seconds,
            "executor": result.executor,
            "attempt": result.attempt,
            "environment": dict(result.environment),
        }
    )


def result_from_json(text: str) -> Result:
    """The inverse of `result_to_json`. Raises ValueError for anything else."""
    raw = _parse(text)
    try:
        return Result(
            job=_job_back(raw["job"]),
            status=_one_of(raw["status"], _STATUSES),
            loss=float(raw["loss"]),
            metrics=_floats(raw["metrics"]),
            curve=tuple(CurvePoint(r, float(loss), _floats(metrics)) for r, loss, metrics in raw["curve"]),
            derived=tuple(Architecture(a) for a in raw["derived"]),
            error=None if raw["error"] is None else _of(raw["error"], str),
            started_at=datetime.fromisoformat(raw["started_at"]),
            seconds=float(_of(raw["seconds"], int, float)),
            executor=_of(raw["executor"], str),
            attempt=_of(raw["attempt"], int),
            environment={_of(name, str): _of(value, str) for name, value in _of(raw["environment"], dict).items()},
        )
    except (KeyError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"not a result: {error!r}") from error


def _job(job: Job) -> dict[str, Any]:
    trial = job.trial
    return {
        "trial_id": trial.trial_id,
        "architecture": dict(trial.architecture),
        "recipe": dict(trial.recipe),
        "seed": trial.seed,
        "bracket": trial.bracket,
        "rung": job.rung,
        "resource": job.resource,
        "start_from": job.start_from,
    }


def _job_back(raw: Mapping[str, Any]) -> Job:
    try:
        trial = Trial(raw["trial_id"], Architecture(raw["architecture"]), raw["recipe"], raw["seed"], raw["bracket"])
        start = raw["start_from"]
        return Job(trial, raw["rung"], raw["resource"], JobKey(*start) if start else None)
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a job: {error!r}") from error


def _dump(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _parse(text: str) -> dict[str, Any]:
    raw = json.loads(text)
    if not isinstance(raw, dict):
        raise ValueError("not a JSON object")
    return raw


def _of(value: Any, *kinds: type) -> Any:  # noqa: ANN401 - any JSON
    """The value, which is of one of these types exactly: true is no number. Raises TypeError."""
    if type(value) not in kinds:
        raise TypeError(f"{value!r} is no {' or '.join(kind.__name__ for kind in kinds)}")
    return value


def _one_of(value: Any, known: tuple[Status, ...]) -> Status:  # noqa: ANN401
    if value not in known:
        raise TypeError(f"{value!r} is none of {', '.join(known)}")
    return known[known.index(value)]


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _numbers(values: Mapping[str, float]) -> dict[str, float | str]:
    return {name: _number(value) for name, value in values.items()}


def _floats(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
