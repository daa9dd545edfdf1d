"""The driver program of test_standalone: runs both engines on a cluster and prints what came back as JSON lines."""

from __future__ import annotations

import sys

from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome, Trial
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


def main() -> None:
    jobs = [Job(Trial(i, Architecture({"a": "b"})), 0, 1) for i in range(6)]
    for options in (SparkRounds(), SparkAsync(slots=2)):
        engine = options.build(Place(), None)
        engine.submit(jobs)
        results = []
        while len(results) < len(jobs):
            results += engine.wait()
        for result in results:
            print("RESULT", type(options).__name__, result_to_json(result))
        engine.close()


if __name__ == "__main__":
    sys.exit(main())
