"""The driver process of the chaos tests: `spark-nas search`, with an evaluator that leaves a trace of what it begins.

python -m tests.chaos.driver EXPERIMENT OUTPUT RUN_ID TRACE
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from spark_nas.assemble import assemble, load_experiment
from spark_nas.commands.runs import run_files
from spark_nas.commands.search import search
from spark_nas.errors import SparkNasError
from spark_nas.search.protocols import Evaluator, Workspace
from spark_nas.search.records import Job, Outcome
from spark_nas.storage.files import Files
from spark_nas.storage.jobs import CommittedJobs


@dataclass(frozen=True)
class Traced:
    """Trains as the evaluator it wraps does; says before and after it what it did, and what was committed then."""

    evaluator: Evaluator
    files: Files
    folder: str
    seconds: float
    """How much longer each job takes: room for being killed."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        committed = CommittedJobs(self.files).committed(job.key) is not None
        self._write("TWICE" if committed else "BEGIN", job)
        time.sleep(self.seconds)
        outcome = self.evaluator.evaluate(job, workspace)
        self._write("END", job)
        return outcome

    def _write(self, what: str, job: Job) -> None:
        line = f"{what} {job.key.trial_id} {job.key.rung} {os.getpid()}\n"
        with (Path(self.folder) / f"{os.getpid()}.trace").open("a") as trace:  # one write: a kill leaves no half line
            trace.write(line)


def main(experiment: str, output: str, run_id: str, trace: str) -> int:
    try:
        parts = assemble(load_experiment(experiment))
        files = run_files(output, run_id, parts.experiment.storage)
        parts = replace(parts, evaluator=Traced(parts.evaluator, files, trace, float(os.environ["CHAOS_SECONDS"])))
        search(parts, files, run_id)
    except SparkNasError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
