"""Checkpoints and commits of one run: `checkpoints/TRIAL/RUNG/`.

An attempt writes its checkpoint under a name of its own, then tries to create `commit.json`, which holds the
result and names that checkpoint. Only one attempt can create it; the others return what it says. So a result and
its checkpoint become visible together, or not at all (docs/decisions/0006). Until then `recovery.pt` holds where an
attempt under way stood last.

What others left behind - losers, killed attempts, trials that are out - is `storage.garbage`'s.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from typing import NamedTuple

from spark_nas.errors import JobError
from spark_nas.search.records import JobKey, Result
from spark_nas.search.wire import result_from_json, result_to_json
from spark_nas.storage.files import Files

CHECKPOINTS = "checkpoints"
COMMIT = "commit.json"
_RECOVERY = "recovery.pt"
_NAME = re.compile(r"[0-9a-f]{32}\.pt")
"""A checkpoint's name. Nothing else is believed: a commit must not be able to name a file outside its folder."""
_MAGIC = b"spark_nas recovery 1\n"
_DIGEST = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


class Commit(NamedTuple):
    """What `commit.json` says."""

    result: Result
    checkpoint: str | None
    """Name of the checkpoint in the same folder; None when the job left none."""
    sha256: str | None


class CommittedJobs:
    """`search.protocols.JobStore` over `Files`."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._recoveries: set[JobKey] = set()
        """Jobs that this process knows to have a recovery checkpoint: a commit of any other spares the request."""

    def committed(self, key: JobKey) -> Result | None:
        """The committed result of a job, or None. Raises JobError when the commit cannot be read."""
        found = read_commit(self._files, key)
        return found.result if found else None

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        """Publish a result and its checkpoint; returns the winner's result, maybe another attempt's.

        Raises JobError for a result that cannot be written as JSON.
        """
        folder = folder_of(result.job.key)
        name = digest = None
        if checkpoint is not None:
            name, digest = f"{uuid.uuid4().hex}.pt", hashlib.sha256(checkpoint).hexdigest()
        content = _content(result, name, digest)
        if name is not None and checkpoint is not None:
            # A disk waits once for both names; object stores have nothing to wait for.
            write = getattr(self._files, "write_ahead", self._files.write)
            write(f"{folder}/{name}", checkpoint)
        winner = Commit(result, name, digest)
        if not self._files.write_new(f"{folder}/{COMMIT}", content):
            # Not necessarily another's: a request that was repeated by the network finds what it has done itself.
            winner = self._winner(result.job.key)
        if name is not None and winner.checkpoint != name:
            self._remove(f"{folder}/{name}")
        if result.job.key in self._recoveries:
            self._recoveries.discard(result.job.key)
            self._remove(f"{folder}/{_RECOVERY}")
        return winner.result

    def checkpoint(self, key: JobKey) -> bytes:
        """The checkpoint that a committed job left. Raises JobError when it is missing or damaged."""
        commit = self._with_checkpoint(key)
        name = f"{folder_of(key)}/{commit.checkpoint}"
        content = self._files.read(name)
        if content is None or hashlib.sha256(content).hexdigest() != commit.sha256:
            what = "missing" if content is None else "damaged"
            raise JobError(f"the checkpoint of job {tuple(key)} is {what}: {self._files.root}/{name}")
        return content

    def origin(self, key: JobKey) -> str:
        """Where the checkpoint of a committed job lies, under a name that no other one ever has."""
        return f"{self._files.root}/{folder_of(key)}/{self._with_checkpoint(key).checkpoint}"

    def keep(self, key: JobKey, state: bytes) -> None:
        """Replace the job's recovery checkpoint. Two attempts may take turns: each state is whole, and of this job."""
        self._recoveries.add(key)
        self._files.write(f"{folder_of(key)}/{_RECOVERY}", _MAGIC + hashlib.sha256(state).digest() + state)

    def kept(self, key: JobKey) -> bytes | None:
        """The job's recovery checkpoint, or None where there is none that is whole."""
        content = self._files.read(f"{folder_of(key)}/{_RECOVERY}")
        if content is None:
            return None
        self._recoveries.add(key)
        digest, state = content[len(_MAGIC) :][:_DIGEST], content[len(_MAGIC) + _DIGEST :]
        if not content.startswith(_MAGIC) or hashlib.sha256(state).digest() != digest:
            _log.warning("ignoring the recovery checkpoint of job %s: it is damaged", tuple(key))
            return None
        return state

    def _with_checkpoint(self, key: JobKey) -> Commit:
        commit = read_commit(self._files, key)
        if commit is None or commit.checkpoint is None:
            raise JobError(f"job {tuple(key)} has left no checkpoint in {self._files.root}")
        return commit

    def _winner(self, key: JobKey) -> Commit:
        winner = read_commit(self._files, key)
        if winner is None:
            raise JobError(f"the commit of job {tuple(key)} vanished from {self._files.root}")
        return winner

    def _remove(self, name: str) -> None:
        """Remove what the commit has made useless. It stays where it cannot be: a sweep finds it later."""
        try:
            self._files.delete(name)
        except Exception as error:
            _log.warning("cannot remove %s/%s: %s", self._files.root, name, error)


def read_commit(files: Files, key: JobKey) -> Commit | None:
    """The commit of a job, or None where there is none. Raises JobError when it cannot be read, or is another's."""
    name = f"{folder_of(key)}/{COMMIT}"
    content = files.read(name)
    if content is None:
        return None
    try:
        raw = json.loads(content)
        commit = Commit(result_from_json(raw["result"]), raw["checkpoint"], raw["sha256"])
        if commit.result.job.key != key:
            raise ValueError(f"it is of job {tuple(commit.result.job.key)}")
        if commit.result.status not in ("completed", "failed"):
            raise ValueError(f"its status is {commit.result.status!r}")
        if commit.checkpoint is not None and not _NAME.fullmatch(commit.checkpoint):
            raise ValueError(f"{commit.checkpoint!r} names no checkpoint")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise JobError(f"the commit of job {tuple(key)} cannot be read: {files.root}/{name}: {error}") from error
    return commit


def folder_of(key: JobKey) -> str:
    """Where a job's files lie. Raises JobError for a key that is not two numbers: it would lead elsewhere."""
    if not all(type(part) is int and part >= 0 for part in key):
        raise JobError(f"job {tuple(key)}: trial and rung must be whole numbers of at least 0")
    return f"{CHECKPOINTS}/{key.trial_id:06d}/{key.rung}"


def _content(result: Result, name: str | None, digest: str | None) -> bytes:
    try:
        return json.dumps({"result": result_to_json(result), "checkpoint": name, "sha256": digest}).encode()
    except (TypeError, ValueError) as error:
        raise JobError(f"the result of job {tuple(result.job.key)} cannot be written: {error}") from error
