"""The driver program of test_standalone: runs the engines on a cluster and prints what came back as JSON lines."""

from __future__ import annotations

from contextlib import AbstractContextManager

from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_distributed import SparkDistributed
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.search.protocols import Engine, Peers, Workspace
from spark_nas.search.records import SUPERNET, Job, Outcome, Result, Trial
from spark_nas.search.wire import result_to_json
from spark_nas.spaces.core import Architecture


class Place:
    """Reports the place it was given; long enough for both executors to get jobs."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import time

        import spark_nas

        time.sleep(0.3)
        from_zip = ".zip" in str(spark_nas.__file__)
        return Outcome(0.0, {"gpu": float(workspace.device.removeprefix("cuda:")), "from_zip": from_zip})


class Together:
    """A supernet reports the GPUs that its two processes see, as the digits of a number.

    Any other job reports whether its worker can still see all of them.
    """

    def __init__(self) -> None:
        import torch

        self.kind = torch.device  # so that a process that unpickles this imports torch, as for any that trains

    def join(self, device: str) -> AbstractContextManager[Peers]:
        from spark_nas.evaluation import group

        return group.join(self.kind(device))

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        import os
        import time

        from spark_nas.evaluation import group

        if job.trial.architecture:
            time.sleep(0.3)
            return Outcome(0.0, {"narrowed": "CUDA_VISIBLE_DEVICES" in os.environ, "rank": "RANK" in os.environ})
        rank, visible = int(os.environ["RANK"]), os.environ["CUDA_VISIBLE_DEVICES"]
        (seen,) = group.sums(10.0**rank * int(visible))
        return Outcome(0.0, {"seen": seen})


def main() -> None:
    jobs = [Job(Trial(i, Architecture({"a": "b"})), 0, 1) for i in range(6)]
    supernet = Job(Trial(6, SUPERNET), 0, 1)
    session, _ = Session().open()
    for options, evaluator, more in (
        (SparkRounds(), Place(), []),
        (SparkAsync(slots=2), Place(), []),
        (SparkDistributed(processes=2), Together(), [supernet]),
    ):
        engine = options.build(evaluator, None, session)
        run(engine, type(options).__name__, more)
        run(engine, type(options).__name__, jobs)
        engine.close()
    session.stop()


def run(engine: Engine, name: str, jobs: list[Job]) -> None:
    """Print the results of the jobs."""
    if jobs:
        engine.submit(jobs)
        results: list[Result] = []
        while len(results) < len(jobs):
            results += engine.wait()
        for result in results:
            print("RESULT", name, result_to_json(result))


if __name__ == "__main__":
    main()
