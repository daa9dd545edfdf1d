"""The driver program of test_profiles: searches whose tasks ask for resources of their own, on a cluster or through
Spark Connect; prints what they saw.

    profile_driver.py MASTER_OR_REMOTE [KEY=VALUE ...]
"""

from __future__ import annotations

import json
import sys

from spark_nas.engines.executors import slots_of
from spark_nas.engines.profiles import TaskProfile
from spark_nas.engines.session import Session, is_connect, stage_profile
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import ClusterError
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome, Trial
from spark_nas.spaces.core import Architecture


class Granted:
    """Reports what Spark says that it granted the task, and what spark_nas makes of it."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        from pyspark import TaskContext

        context = TaskContext.get()
        gpus = context.resources()["gpu"].addresses
        seen = {"cpus": context.cpus(), "gpus": len(gpus), "gpu": int(gpus[0]), "threads": workspace.threads}
        return Outcome(float(workspace.device.removeprefix("cuda:")), seen)


PROFILES = {"cpus": TaskProfile(cpus=2), "gpus": TaskProfile(gpus=0.5), "too many": TaskProfile(cpus=3)}


def main(where: str, conf: dict[str, str]) -> None:
    """Each profile once, and none."""
    options = Session(remote=where) if where.startswith("sc://") else Session(where, conf=conf)
    session, _ = options.open()
    if not is_connect(session):
        slots_of(session, 2, 60)  # so that both executors are there, and their slots need not settle when counted below
    for name, profile in {"none": None, **PROFILES}.items():
        try:
            if not is_connect(session):
                slots = slots_of(session, None, 0, stage_profile(session, profile))
                print("REPORT", json.dumps([f"{name} slots", slots]))
            engine = SparkRounds(spark=Session(profile=profile)).build(Granted(), None, session)
        except ClusterError as error:
            print("REPORT", json.dumps([name, str(error)]))
            continue
        engine.submit([Job(Trial(i, Architecture({"a": "b"})), 0, 1) for i in range(4)])
        results = engine.wait()
        engine.close()
        print("REPORT", json.dumps([name, [r.error or {"device": r.loss, **r.metrics} for r in results]]), flush=True)
    session.stop()


if __name__ == "__main__":
    main(sys.argv[1], dict(setting.split("=", 1) for setting in sys.argv[2:]))
