"""spark_nas, the whole path of `spark-nas search`: experiment, scheduler, `spark_async`, commits, lease, durable table.

The one thing that is put in from outside is the evaluator, after `assemble`: it sleeps where training would be.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, train_epoch
from spark_nas.assemble import Parts, assemble, parse_experiment
from spark_nas.commands.runs import run_files
from spark_nas.commands.search import search as spark_nas_search
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import CurvePoint, Job, Outcome


@dataclasses.dataclass(frozen=True)
class Sleeper:
    """An evaluator that runs the benchmark's epochs, and goes on where a promoted job's checkpoint says."""

    workload: Workload
    folder: str

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """From the checkpoint's epoch up to the job's resource."""
        done = int(workspace.load() or b"0") if job.start_from else 0
        configuration = Configuration(*(float(job.trial.recipe[name]) for name in SPACE))
        curve = tuple(
            CurvePoint(epoch, train_epoch(self.workload, self.folder, configuration, epoch))
            for epoch in range(done + 1, job.resource + 1)
        )
        if self.workload.early_stopping:
            workspace.save(str(job.resource).encode())
        return Outcome(curve[-1].loss, curve=curve)


def parts(workload: Workload, folder: Path, engine: Mapping[str, Any]) -> Parts:
    """The assembled experiment: random search over (a, b, c), by ASHA where there is something to stop early."""
    stopping = {"name": "asha", "eta": workload.eta} if workload.early_stopping else {"name": "full_training"}
    raw = {
        "name": "orchestration",
        "space": {"name": "nas_bench_201"},
        "sampler": {"name": "random", "replacement": True},
        "recipe": {name: {"float": list(bounds)} for name, bounds in SPACE.items()},
        "scheduler": {**stopping, "max_resource": workload.max_resource, "trials": workload.trials},
        "evaluator": {"name": "synthetic"},
        "engine": dict(engine),
    }
    assembled = assemble(parse_experiment(raw, "orchestration.yaml"))
    return dataclasses.replace(assembled, evaluator=Sleeper(workload, str(folder)))


def search(workload: Workload, folder: Path, channel: str = "auto") -> None:
    """Run it on local Spark with a slot for each worker; the run's folder is on the local disk.

    Raises RuntimeError when a job failed: a search that only lost its work was not quick.
    """
    engine = {"name": "spark_async", "channel": channel, "spark": {"master": f"local[{workload.workers}]"}}
    results = spark_nas_search(parts(workload, folder, engine), run_files(str(folder / "out"), "run"), "run")
    if failed := [result for result in results if not result.usable]:
        why = (failed[0].error or "its loss is not finite").splitlines()[0]
        raise RuntimeError(f"{len(failed)} of {len(results)} jobs failed: {why}")
