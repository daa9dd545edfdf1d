"""What each process of a group does that runs one job: the first leads, the others follow.

TorchDistributor starts them, in a process of their own below a Spark task each. The leader runs the job as any job is
run (`task.run_job`), with the store; the followers evaluate along with it, reading and writing nothing, and give their
result to nobody. So a commit is found once and made once, and what the leader says holds for all:

    leader                                   followers
    committed already? -> says "done"        wait for the leader's word; "done": end
    says "begin", evaluates                  evaluate
    commits                                  say what came of it
    asks them where a peer has failed

A follower that fails closes its connections, and the leader's next exchange raises a ConnectionError: the job would be
lost, but for the follower's own reason, if it gives one. A process that dies is Spark's to notice: it ends the stage.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from typing import cast

from spark_nas.engines.gpu import Place
from spark_nas.engines.limits import Limits
from spark_nas.engines.task import run_job
from spark_nas.engines.worker import unpickle
from spark_nas.errors import JobError
from spark_nas.search.protocols import Evaluator, JobStore, ParallelEvaluator, Peers, Workspace
from spark_nas.search.records import Job, JobKey, Outcome, Result
from spark_nas.search.wire import job_from_json, result_to_json

_BEGIN, _DONE = "begin", "done"
_PATIENCE = 600.0
"""Seconds in which the leader begins: it has only to look for a commit."""
_HEARING = 10.0
"""Seconds in which a follower that has failed says why."""


def run_rank(pickled: bytes, job_text: str, attempt: int, threads: int) -> str:
    """The leader's result as JSON, an empty text of a follower; the payload is `worker.Payload.pickled`."""
    evaluator, store, limits, require_gpu = unpickle(pickled)
    parallel = cast("ParallelEvaluator", evaluator)  # the engine has refused all others
    job, place = job_from_json(job_text), place_of_rank(threads, require_gpu)
    with parallel.join(_device(place)) as peers:
        if peers.rank > 0:
            follow(job, parallel, place, peers)
            return ""
        return result_to_json(lead(job, parallel, store, limits, attempt, place=place, peers=peers))


def place_of_rank(threads: int, required: bool) -> Place:
    """Where this process runs: on the GPU of its number among those that its task was given, or the CPU.

    TorchDistributor has set CUDA_VISIBLE_DEVICES to the task's own GPUs, or to nothing.
    """
    gpu = os.environ.get("LOCAL_RANK") if os.environ.get("CUDA_VISIBLE_DEVICES") else None
    return Place(threads, gpu, required)


def lead(
    job: Job,
    evaluator: Evaluator,
    store: JobStore | None,
    limits: Limits,
    attempt: int,
    *,
    place: Place,
    peers: Peers,
) -> Result:
    """The job's result, as `task.run_job` has it."""
    result = run_job(
        job, _Leading(evaluator, peers), store, limits, attempt, place=place, expendable=True, careful=True
    )
    peers.tell(_DONE)
    return result if result.status != "lost" else _reason(result, peers)


def follow(job: Job, evaluator: Evaluator, place: Place, peers: Peers) -> None:
    """Evaluate the job if the leader does, and say what came of it."""
    if peers.hear(0, _PATIENCE) != _BEGIN:
        return
    # The time is the leader's to look at: it ends the job for all.
    result = run_job(job, evaluator, Silent(), Limits(), place=place, expendable=False)
    peers.tell(json.dumps([result.status, result.error]))


@dataclass(frozen=True)
class _Leading:
    """The evaluator of the leader, which calls the others when it is needed."""

    evaluator: Evaluator
    peers: Peers

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """Together with the followers."""
        self.peers.tell(_BEGIN)
        return self.evaluator.evaluate(job, workspace)


class Silent:
    """`search.protocols.JobStore` of a follower: the leader hands it what is read, and writes what is written."""

    def committed(self, key: JobKey) -> Result | None:
        """None: the leader has looked."""
        return None

    def commit(self, result: Result, checkpoint: bytes | None) -> Result:
        """The result, which is committed by the leader alone."""
        return result

    def checkpoint(self, key: JobKey) -> bytes:
        """Nothing that counts: what is loaded is the leader's."""
        return b""

    def origin(self, key: JobKey) -> str:
        """Nothing."""
        return ""

    def keep(self, key: JobKey, state: bytes) -> None:
        """Nothing."""

    def kept(self, key: JobKey) -> bytes | None:
        """None."""
        return None


def _reason(lost: Result, peers: Peers) -> Result:
    """The result of a job that a follower has failed, with its reason; the leader's own where none gives any."""
    for rank in range(1, peers.size):
        word = peers.hear(rank, _HEARING)
        status, error = json.loads(word) if word else (None, None)
        if status == "failed":
            return replace(lost, status="failed", error=f"in process {rank} of {peers.size}: {error}")
    return lost


def _device(place: Place) -> str:
    """What to join the group with. A required GPU that is not there fails the job, when it asks for it."""
    try:
        return place.device()
    except JobError:
        return "cpu"
