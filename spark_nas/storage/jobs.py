"""Checkpoints and commits of one run: `checkpoints/TRIAL/RUNG/`.

An attempt writes its checkpoint under a name of its own, then tries to create `commit.json`, which holds the
result and names that checkpoint. Only one attempt can create it; the others return what it says. So a result and
its checkpoint become visible together, or not at all (docs/decisions/0006).
"""

from __future__ import annotations

import hashlib
import json
import uuid

from spark_nas.errors import JobError
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import result_from_json, result_to_json
from spark_nas.storage.files import Files

_COMMIT = "commit.json"


class CommittedJobs:
    """`search.protocols.JobStore` over `Files`."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def committed(self, key: JobKey) -> Result | None:
        """The committed result of a job, or None. Raises JobError when the commit cannot be read."""
        commit = self._commit(key)
        return commit[0] if commit else None

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        """Publish a result and its checkpoint; returns the winner's result, maybe another attempt's."""
        folder = _folder(result.job.key)
        name = digest = None
        if checkpoint is not None:
            name, digest = f"{uuid.uuid4().hex}.pt", hashlib.sha256(checkpoint).hexdigest()
            self._files.write(f"{folder}/{name}", checkpoint)
        content = json.dumps({"result": result_to_json(result), "checkpoint": name, "sha256": digest}).encode()
        if self._files.write_new(f"{folder}/{_COMMIT}", content):
            return result
        if name is not None:
            self._files.delete(f"{folder}/{name}")
        winner = self.committed(result.job.key)
        if winner is None:
            raise JobError(f"the commit of job {tuple(result.job.key)} vanished from {self._files.root}")
        return winner

    def checkpoint(self, key: JobKey) -> bytes:
        """The checkpoint that a committed job left. Raises JobError when it is missing or damaged."""
        commit = self._commit(key)
        if commit is None or commit[1] is None:
            raise JobError(f"job {tuple(key)} has left no checkpoint in {self._files.root}")
        _, name, digest = commit
        content = self._files.read(f"{_folder(key)}/{name}")
        if content is None or hashlib.sha256(content).hexdigest() != digest:
            what = "missing" if content is None else "damaged"
            raise JobError(f"the checkpoint of job {tuple(key)} is {what}: {self._files.root}/{_folder(key)}/{name}")
        return content

    def _commit(self, key: JobKey) -> tuple[Result, str | None, str | None] | None:
        content = self._files.read(f"{_folder(key)}/{_COMMIT}")
        if content is None:
            return None
        try:
            raw = json.loads(content)
            return result_from_json(raw["result"]), raw["checkpoint"], raw["sha256"]
        except (ValueError, KeyError, TypeError) as error:
            where = f"{self._files.root}/{_folder(key)}/{_COMMIT}"
            raise JobError(f"the commit of job {tuple(key)} cannot be read: {where}: {error}") from error


def _folder(key: JobKey) -> str:
    return f"checkpoints/{key.trial_id:06d}/{key.rung}"
