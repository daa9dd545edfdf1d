"""`run.json`: what a run is - its whole configuration, seeds, versions, code revision and data fingerprint.

It is written once, when the run begins. A run that is continued must be the same experiment: whatever decides the
results (`identity`) must be equal; where and how long it runs (engine, budget) may change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from spark_nas.errors import OutputError
from spark_nas.storage.files import Files

RECORD_VERSION = 1
_NAME = "run.json"
_NEEDED: Mapping[str, type] = {
    "run_id": str, "experiment": dict, "file": str, "identity": dict, "max_resource": int, "environment": dict
}  # fmt: skip
_LONGEST = 100
_RUN_ID = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{_LONGEST - 1}}}")


def check_run_id(run_id: object) -> str:
    """The run id, if it can be a folder's name. Raises OutputError otherwise."""
    if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
        raise OutputError(
            f"run id {run_id!r}: use letters, digits, '.', '_' and '-', beginning with one of the first two, "
            f"at most {_LONGEST} characters"
        )
    return run_id


def read_record(files: Files) -> dict[str, Any] | None:
    """The record of a run, or None where no run has begun. Raises OutputError when it cannot be read."""
    content = files.read(_NAME)
    if content is None:
        return None
    try:
        record = json.loads(content)
        version = record["record_version"]
        missing = [key for key in _NEEDED if key not in record]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{files.root}/{_NAME} is not a run record: {error!r}") from error
    if version != RECORD_VERSION:
        raise OutputError(f"{files.root}/{_NAME} has version {version}, this version reads {RECORD_VERSION}")
    if missing:
        raise OutputError(f"{files.root}/{_NAME} is not a run record: it has no {', '.join(missing)}")
    for key, kind in _NEEDED.items():
        if not isinstance(record[key], kind):
            raise OutputError(f"{files.root}/{_NAME} is not a run record: {key} is {record[key]!r}")
    if not _RUN_ID.fullmatch(record["run_id"]):
        raise OutputError(f"{files.root}/{_NAME} is not a run record: no run is called {record['run_id']!r}")
    return dict(record)


def begin(files: Files, record: Mapping[str, Any]) -> dict[str, Any]:
    """Write the record of a new run, or check that a run that is there is the same experiment; returns its record.

    Raises OutputError that names the first key of `identity` that differs.
    """
    content = json.dumps({"record_version": RECORD_VERSION, **record}, indent=2, sort_keys=True, default=str)
    if files.write_new(_NAME, content.encode()):
        return dict(json.loads(content))
    there = read_record(files) or {}
    new = json.loads(content)
    for key, old_value, new_value in _differences(there.get("identity", {}), new["identity"]):
        raise OutputError(
            f"{files.root} holds another experiment: {key} was {old_value!r} and is now {new_value!r}; "
            "choose another --run-id, or undo the change"
        )
    kept = "retrain"  # read from here when its time comes, so a change would go unheard
    was, now = (made.get("experiment", {}).get(kept) or {} for made in (there, new))
    if was != now:
        raise OutputError(
            f"{files.root}: the section {kept} is not the one that the run began with: undo the change, and give it to "
            f"`spark-nas retrain` by --set {kept}.KEY=VALUE"
        )
    return there


def _differences(old: Any, new: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield path, old, new
