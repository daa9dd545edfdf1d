"""`spark-nas search`: run an experiment file, or continue where it stood."""

from __future__ import annotations

import argparse
import contextlib
import shlex
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from spark_nas import driver, provenance
from spark_nas.assemble import Parts, assemble, load_experiment
from spark_nas.commands.endings import Ending, add_ending_arguments
from spark_nas.commands.runs import run_files
from spark_nas.config import Experiment
from spark_nas.engines.descriptions import named_run
from spark_nas.engines.environment import versions
from spark_nas.errors import SearchFailed
from spark_nas.report.leaderboard import incumbent, print_leaderboard
from spark_nas.report.progress import Progress
from spark_nas.report.view import RunView
from spark_nas.search.records import Result
from spark_nas.storage.files import Files
from spark_nas.storage.garbage import Housekeeper
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.lease import Lease, LeasedLog
from spark_nas.storage.probe import require_answer, require_conditional_writes
from spark_nas.storage.record import begin
from spark_nas.storage.results import ParquetLog
from spark_nas.tracking.start import tracked_too

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

HELP = "search: continue where the run stood, or begin it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """EXPERIMENT, --output, --run-id, --set, --keep-checkpoints, --time-budget, --grace."""
    parser.add_argument("experiment", help="experiment file (YAML), for example conf/asha.yaml")
    parser.add_argument(
        "--output", required=True, help="folder of runs, shared by driver and executors: a path, or s3://BUCKET/PREFIX"
    )
    parser.add_argument(
        "--run-id", help="name of this run; the same again continues it (default: the experiment's name)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a value of the experiment file"
    )
    parser.add_argument(
        "--keep-checkpoints", action="store_true", help="delete none, also those that can no longer be promoted"
    )
    add_ending_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Search, and print the leaderboard."""
    experiment = load_experiment(arguments.experiment, arguments.set)
    run_id = experiment.name if arguments.run_id is None else arguments.run_id
    with Ending(time_budget=arguments.time_budget, grace=arguments.grace) as ending:
        parts, files = opened(experiment, arguments.output, run_id)
        results = search(
            parts, files, run_id, ending=ending, settings=arguments.set, keep_checkpoints=arguments.keep_checkpoints
        )
    print_leaderboard(RunView(run_id, {}, results))
    print(f"Run: {files.root}")
    return 0


def opened(experiment: Experiment, output: str, run_id: str) -> tuple[Parts, Files]:
    """The objects of an experiment, and the files of its run. Raises what is wrong with data or output."""
    files = run_files(output, run_id, experiment.storage)
    require_answer(files)  # before the data are opened, which may lie in the same store
    return assemble(experiment), files


def search(
    parts: Parts,
    files: Files,
    run_id: str,
    *,
    ending: Ending | None = None,
    settings: Sequence[str] | None = None,
    spark: SparkSession | None = None,
    keep_checkpoints: bool = False,
) -> list[Result]:
    """Run or continue the search in `files`; returns all its rows.

    `settings` are those of `--set` to an experiment file, for the record; None where a program made the experiment.

    Raises OutputError when the run is another experiment's, SearchFailed when no trial completed, and Unfinished when
    it was stopped before its end: by `ending`, whose block is the caller's, or because another driver holds the run.
    """
    require_conditional_writes(files)
    environment = versions()
    record = begin(files, new_record(parts, run_id, environment, settings))
    log = drive(parts, files, record, ending=ending, spark=spark, keep_checkpoints=keep_checkpoints)
    results = [result for result, _ in log.rows()]
    if not results:
        raise SearchFailed("no job was run: the budget ended before")
    if incumbent(results) is None:
        errors = [result.error.splitlines()[0] for result in results if result.error]
        raise SearchFailed(f"no trial completed; the last error: {errors[-1] if errors else 'the loss is not finite'}")
    return results


def drive(
    parts: Parts,
    files: Files,
    record: Mapping[str, Any],
    *,
    ending: Ending | None = None,
    spark: SparkSession | None = None,
    keep_checkpoints: bool = False,
) -> ParquetLog:
    """The loop, under a lease, with its engine opened and closed, its progress shown. Returns the log it wrote.

    Checkpoints that the scheduler needs no more are deleted on the way, unless all are to be kept.
    """
    scheduler, ending = parts.scheduler(), ending or Ending()
    options: dict[str, Any] = {"budget": parts.experiment.budget, "grace": ending.grace}
    # What has begun is ended in the opposite order: the lease goes last, when nobody writes any more.
    with contextlib.ExitStack() as running:
        lease = running.enter_context(Lease(files, sleep=ending.sleep))
        options["stop"] = lambda: lease.checked(ending.reason())
        log = running.enter_context(ParquetLog(files, record["run_id"], record["environment"]))
        progress = Progress(total_jobs=planned_jobs(parts))
        options["observer"] = running.enter_context(tracked_too(progress, parts, files.root, record, log.rows))
        running.enter_context(named_run(record["run_id"]))
        if not (keep_checkpoints or getattr(parts.evaluator, "small_checkpoints", False)):
            housekeeper = Housekeeper(files, scheduler.needed)
            options["housekeeper"] = running.enter_context(contextlib.closing(housekeeper))
        ending.check()  # what is said after this the loop hears
        engine = running.enter_context(contextlib.closing(parts.engine(CommittedJobs(files), spark)))
        if clock := getattr(engine, "clock", None):  # the simulated engine keeps its own time
            options["clock"] = clock
        driver.run(scheduler, engine, LeasedLog(log, lease), **options)
    return log


def planned_jobs(parts: Parts) -> int | None:
    """How many jobs the search will have if nothing fails; None where it has no end of its own."""
    scheduler, budget = parts.experiment.scheduler, parts.experiment.budget
    if scheduler.endless:
        return None if budget.jobs is None else int(budget.jobs)
    repeats = getattr(scheduler, "iterations", getattr(scheduler, "brackets", 1))
    jobs: int = sum(bracket.jobs for bracket in scheduler.plan()) * (repeats if isinstance(repeats, int) else 1)
    return min(jobs, budget.jobs) if budget.jobs else jobs


def new_record(
    parts: Parts, run_id: str, environment: Mapping[str, str], settings: Sequence[str] | None = None
) -> dict[str, Any]:
    """What `run.json` says of a run that begins now; `settings` as `search` has them."""
    experiment = parts.experiment
    return {
        "run_id": run_id,
        "experiment": experiment.raw,
        "file": experiment.file,
        "settings": None if settings is None else list(settings),
        "identity": parts.identity(),
        "max_resource": experiment.scheduler.max_resource,
        "environment": dict(environment),
        "versions": provenance.versions(),
        "code_revision": provenance.code_revision(),
        "command": provenance.command_line(),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def commands(run_id: str, record: Mapping[str, Any], output: str) -> Sequence[str]:
    """The command lines that make this run again, quoted for a shell.

    Where file and `--set` do not say it all (a program began the run, or a record has no settings yet), the
    experiment in the record is to be saved first.
    """
    settings, written, folder = record.get("settings"), record["file"], f"{output}/{run_id}"
    first: tuple[str, ...] = ()
    if not isinstance(settings, list):
        settings, written = [], f"{run_id}.yaml"
        first = (f"# save the experiment below as {written}",)
    given = [word for setting in settings for word in ("--set", str(setting))]
    store = [word for setting in settings if str(setting).startswith("storage.") for word in ("--set", str(setting))]
    return (
        *first,
        shlex.join(["spark-nas", "search", written, "--output", output, "--run-id", run_id, *given]),
        shlex.join(["spark-nas", "retrain", folder, *store]),
        shlex.join(["spark-nas", "report", folder, *store]),
    )
