"""`spark-nas submit`: the request that runs a search on EMR, Dataproc or Databricks: printed as JSON, or sent."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from spark_nas.assemble import assemble, describe, load_experiment
from spark_nas.commands.doctor import look_at
from spark_nas.commands.runs import run_files, with_table
from spark_nas.composing import takes_session
from spark_nas.config import Experiment
from spark_nas.errors import ConfigError, OptionError, OutputError
from spark_nas.own_modules import travelling
from spark_nas.platforms import databricks, dataproc, emr, emr_serverless
from spark_nas.platforms.submission import Submission

HELP = "print or send the request that runs a search on a platform"

PLATFORMS = {"emr": emr, "emr-serverless": emr_serverless, "dataproc": dataproc, "databricks": databricks}
"""Each module has HELP, add_arguments, request and send."""
_SIZES = (
    ("workers", int, "executors, one training each"),
    ("cores", int, "cores of an executor"),
    ("gpus", int, "GPUs of an executor, 0 or 1"),
    ("heap", str, "Java heap of an executor"),
    ("memory", str, "memory of an executor beside its heap"),
)
"""(option and field of `Submission`, type, help)."""
_ONLY_THERE = ("dbfs:/", "/dbfs/", "/Volumes/")
"""Places that exist on Databricks alone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """PLATFORM, and what all of them take."""
    platforms = parser.add_subparsers(dest="platform", required=True, metavar="PLATFORM")
    for name, module in PLATFORMS.items():
        platform = platforms.add_parser(name, help=module.HELP, description=module.__doc__)
        _add_search_arguments(platform)
        _add_cluster_arguments(platform, getattr(module, "DEFAULTS", {}))
        module.add_arguments(platform)


def _add_search_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="experiment file (YAML); it travels inside the request")
    parser.add_argument("--output", required=True, help="folder of runs, as the cluster sees it")
    parser.add_argument("--run-id", required=True, help="name of the run; the same again continues it")
    parser.add_argument(
        "--attempt", help="tells attempts at one run apart; the same again is sent once (default: the time now)"
    )
    parser.add_argument(
        "--code", required=True, metavar="URI", help="folder with what `make wheel` left in dist/, and jobs/entry.py"
    )
    parser.add_argument("--archive", metavar="URI", help="the packed environment that `make archive` made")
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a value")
    parser.add_argument("--time-budget", metavar="TIME", help="of `spark-nas search`: then it ends with code 75")
    parser.add_argument("--keep-checkpoints", action="store_true", help="of `spark-nas search`")
    unchecked = (
        "look at neither data nor output: they cannot be reached from here, or are on a mount the cluster has too"
    )
    parser.add_argument("--unchecked", action="store_true", help=unchecked)
    parser.add_argument("--run", action="store_true", help="send the request instead of printing it")


def _add_cluster_arguments(parser: argparse.ArgumentParser, own: Mapping[str, object]) -> None:
    # None where they are left out: a platform refuses what is given and has no place in its request.
    for name, kind, said in _SIZES:
        default = own.get(name, getattr(Submission, name))
        parser.add_argument(f"--{name}", type=kind, default=own.get(name), help=f"{said} (default: {default})")
    parser.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a Spark property")


def execute(arguments: argparse.Namespace) -> int:
    """Check what can be checked from here, then print the request or send it."""
    platform = PLATFORMS[arguments.platform]
    experiment = load_experiment(arguments.experiment, arguments.set)
    submission = _submission(experiment, arguments)
    request = platform.request(submission, arguments)
    check(experiment, submission, arguments.platform, arguments.unchecked)
    if arguments.run:
        print(f"{arguments.platform}: {platform.send(request, arguments)}")
        print(f"Run: {submission.output.rstrip('/')}/{submission.run_id}")
    else:
        print(json.dumps(request, indent=2))
    return 0


def check(experiment: Experiment, submission: Submission, platform: str, unchecked: bool) -> None:
    """Find what would end the search on the platform before a cluster starts; says what could not be looked at.

    Raises ConfigError, DataError or OutputError.
    """
    _check_engine(experiment)
    _check_files(experiment, unchecked)
    data = [] if experiment.data is None else [experiment.data.path]
    here = {place for place in (submission.output, *data) if _is_here(place, platform, unchecked)}
    if unchecked:
        return
    if here.issuperset(data):
        assemble(experiment)
    if submission.output in here:
        files = run_files(submission.output, submission.run_id, experiment.storage)
        for finding in look_at(submission.output, files):
            if finding.verdict == "wrong":
                raise OutputError(f"{finding.what}: {finding.found}: {finding.remedy}")


def _is_here(place: str, platform: str, unchecked: bool) -> bool:
    """Whether a place of the platform's can be looked at from here. Raises OutputError for one that it has not."""
    if platform == "databricks" and place.startswith(_ONLY_THERE):
        if not unchecked:
            print(f"spark-nas submit: not looked at: {place} is only there on Databricks", file=sys.stderr)
        return False
    if place.startswith(_ONLY_THERE):
        raise OutputError(f"{place!r}: is only there on Databricks")
    local = "://" not in place or place.startswith("file:")
    if local and not place.startswith(("/", "file:")):
        raise OutputError(f"{place!r}: the cluster has another working folder: give a URI or an absolute path")
    if local and not unchecked:
        remedy = "give a URI of a store, or --unchecked for a mount that all its machines have at this path"
        raise OutputError(f"{place!r}: is a folder of this machine, and the cluster has others: {remedy}")
    return not unchecked


def _check_files(experiment: Experiment, unchecked: bool) -> None:
    """The request has no place for modules of the user's own or for the table of a benchmark. Raises ConfigError."""
    for module in travelling():
        remedy = (
            "is a file of this machine, and the driver on the cluster has it not: make a package of it, and put that "
        )
        remedy += "into the packed environment or beside the wheel"
        raise ConfigError(experiment.file, "module", module.__name__, remedy)
    path = getattr(experiment.evaluator, "path", None)
    if isinstance(path, str) and "://" not in path and not (unchecked and path.startswith("/")):
        remedy = "is a file of this machine and does not travel inside the request: start jobs/search.py by "
        remedy += "spark-submit --files, or give --unchecked and a path that the cluster's machines have too"
        raise ConfigError(experiment.file, "evaluator.path", path, remedy)


def _check_engine(experiment: Experiment) -> None:
    """The cluster must be used, and it must be the platform's. Raises ConfigError."""
    engine = experiment.engine
    if not takes_session(engine):
        name = describe(engine)["name"]
        raise ConfigError(
            experiment.file, "engine.name", name, "leaves a cluster idle: use spark_async or spark_rounds"
        )
    session = getattr(engine, "spark", None)  # an engine of the user's own need not say how it is made
    for key in ("master", "remote"):
        value = getattr(session, key, None)
        if value is not None:
            raise ConfigError(experiment.file, f"engine.spark.{key}", value, "leave it out: the platform says it")


def _raw(experiment: Experiment) -> dict[str, Any]:
    """The experiment as it was written, but for a table of latencies or resources, which travels inside it."""
    raw, table = dict[str, Any](experiment.raw), getattr(experiment.method, "table", None)
    if table is not None:
        raw["method"] = with_table(raw["method"], dataclasses.asdict(table))
    return raw


def _submission(experiment: Experiment, arguments: argparse.Namespace) -> Submission:
    search = [part for part in ("--time-budget", arguments.time_budget) if arguments.time_budget is not None]
    search += ["--keep-checkpoints"] if arguments.keep_checkpoints else []
    sizes = {name: getattr(arguments, name) for name, _, _ in _SIZES}
    return Submission(
        experiment={"name": experiment.name, **_raw(experiment)},
        output=arguments.output,
        run_id=arguments.run_id,
        attempt=arguments.attempt or datetime.now(UTC).strftime("%Y%m%d-%H%M%S"),
        code=arguments.code,
        archive=arguments.archive,
        search=tuple(search),
        conf=dict(_property(text) for text in arguments.conf),
        **{name: value for name, value in sizes.items() if value is not None},
    )


def _property(text: str) -> tuple[str, str]:
    match = re.fullmatch(r"(spark\.[\w.-]+)=(.*)", text, re.DOTALL)
    if match is None:
        raise OptionError("conf", text, "give spark.KEY=VALUE")
    return match[1], match[2]
