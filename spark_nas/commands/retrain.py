"""`spark-nas retrain`: train the best trial again, from scratch and to the end, and look at the test split, once.

It is a search of its own with one architecture and several seeds, below `retrain/` of the run: the same loop, engine
and table, so it resumes like any other.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import statistics
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_nas.assemble import Parts, describe
from spark_nas.commands.endings import Ending, add_ending_arguments
from spark_nas.commands.runs import RETRAINED, Run, add_run_argument, recorded_experiment
from spark_nas.commands.search import drive
from spark_nas.config import Retrain
from spark_nas.errors import DataError, OutputError, SearchFailed, UsageError
from spark_nas.report.leaderboard import incumbent
from spark_nas.search.records import Proposal, Result, derive_seed
from spark_nas.search.samplers.listed import Listed
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.storage.results import ParquetLog

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SECTIONS = ("retrain", "data")
"""Of the experiment, what a retraining may change. `Run.parts` refuses other data than those that were searched on."""
HELP = "train the best trial of a run from scratch and measure it on the test split"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """RUN, --set, --epochs, --seeds, --time-budget, --grace."""
    also = "; or anything in the experiment's section retrain, or in data, where the same data have moved"
    add_run_argument(parser, metavar="SECTION.KEY=VALUE", also=also)
    parser.add_argument("--epochs", type=int, help="instead of retrain.epochs of the experiment")
    parser.add_argument("--seeds", type=int, help="independent trainings, instead of retrain.seeds")
    add_ending_arguments(parser)


def execute(arguments: argparse.Namespace) -> int:
    """Retrain, and print what the test split says."""
    run = Run(arguments.run, arguments.set, [Path.cwd()], _SECTIONS)
    asked = arguments.epochs, arguments.seeds
    try:
        summary = retrain(run, *asked, time_budget=arguments.time_budget, grace=arguments.grace)
    except DataError as error:
        raise DataError(f"{error}; where they have moved: --set data.path=PLACE") from error
    print(
        f"Trial {summary['trial_id']} retrained for {summary['epochs']} epochs with {summary['seeds']} seed(s): "
        f"{headline(summary)}"
    )
    return 0


def headline(summary: Mapping[str, float]) -> str:
    """What the test split says of the retrained winner, with its spread over seeds."""
    spread = summary["seeds"] > 1
    if "test_perplexity" in summary:
        deviation = f" ± {summary['test_perplexity_std']:.2f}" if spread else ""
        return f"test perplexity {summary['test_perplexity']:.2f}{deviation}"
    deviation = f" ± {100 * summary['test_accuracy_std']:.2f}" if spread else ""
    return f"test accuracy {100 * summary['test_accuracy']:.2f}{deviation} %"


def retrain(
    run: Run,
    epochs: int | None = None,
    seeds: int | None = None,
    *,
    spark: SparkSession | None = None,
    time_budget: float | None = None,
    grace: float = 60.0,
    interruptible: bool = False,
) -> dict[str, Any]:
    """Retrain the incumbent of a run; returns, and leaves in `retrained.json`, its test accuracy or perplexity.

    Raises UsageError when there is nothing to retrain, SearchFailed when no training completed, and Unfinished as
    `search` does.
    """
    best = incumbent(run.results())
    if best is None:
        raise OutputError(f"{run.files.root}: no trial has completed; there is nothing to retrain yet")
    options = _options(run.experiment.retrain, epochs, seeds)
    epochs = options.epochs or int(run.record["max_resource"])
    name = f"retrain/trial-{best.job.trial.trial_id:06d}-epochs-{epochs}{_manner(run)}"
    files = run.files.below(name)
    log = ParquetLog(files, run.record["run_id"], run.record["environment"])
    seeds = max([options.seeds, *(asked for _, asked in log.rows())])  # it may have been asked for more before
    with Ending(time_budget=time_budget, grace=grace, interruptible=interruptible) as ending:
        parts = _parts(run, best, epochs, seeds)
        drive(parts, files, run.record, ending=ending, spark=spark, keep_checkpoints=True)
    results = sorted((result for result, _ in log.rows()), key=lambda result: result.job.key)
    text = parts.dataset is not None and parts.dataset.input_shape == ()
    summary = _summary(best, epochs, results[: options.seeds], text=text)
    run.files.write(RETRAINED, json.dumps(summary, indent=2).encode())
    return summary


def _manner(run: Run) -> str:
    """What tells a retraining from one of as many epochs as the run's record asks for; nothing where it is that."""
    asked, recorded = run.experiment.retrain, recorded_experiment(run.record).retrain
    manner = asked.use_valid, dict(asked.recipe)
    if manner == (recorded.use_valid, dict(recorded.recipe)):
        return ""
    return "-" + hashlib.sha256(json.dumps(manner, sort_keys=True).encode()).hexdigest()[:8]


def _options(options: Retrain, epochs: int | None, seeds: int | None) -> Retrain:
    """The experiment's section with what was asked for now."""
    return replace(
        options,
        epochs=options.epochs if epochs is None else epochs,
        seeds=options.seeds if seeds is None else seeds,
    )


def _parts(run: Run, best: Result, epochs: int, seeds: int) -> Parts:
    """The run's experiment with its sampler, scheduler and evaluator replaced by those of retraining."""
    parts = run.parts()
    options = parts.experiment.evaluator
    if not hasattr(options, "build_retraining"):
        name = describe(options)["name"]
        raise UsageError(f"{run.files.root}: evaluator {name!r} trains no network: there is nothing to retrain")
    evaluator = options.build_retraining(
        parts.space, parts.dataset, epochs, use_valid=parts.experiment.retrain.use_valid
    )
    trial = best.job.trial
    searched = {name: value for name, value in trial.recipe.items() if name != "horizon"}  # that was the search's
    recipe = {**searched, **parts.experiment.retrain.recipe}
    experiment = replace(
        parts.experiment,
        sampler=Listed((Proposal(trial.architecture, recipe),) * seeds),
        scheduler=FullTraining(trials=seeds, max_resource=epochs),
        seed=derive_seed(parts.experiment.seed, "retrain"),
        budget=replace(parts.experiment.budget, seconds=None, jobs=None, resource=None),  # those are the search's
    )
    return replace(parts, experiment=experiment, evaluator=evaluator)


def _summary(best: Result, epochs: int, results: list[Result], *, text: bool) -> dict[str, Any]:
    usable = [result for result in results if result.usable]
    if not usable:
        reason = next((r.error.splitlines()[0] for r in results if r.error), "its loss is not finite")
        raise SearchFailed(f"retraining trial {best.job.trial.trial_id} failed: {reason}")
    name, values = "test_accuracy", [1 - result.metrics["test_error"] for result in usable]
    if text:
        name, values = "test_perplexity", [math.exp(result.metrics["test_loss"]) for result in usable]
    return {
        "trial_id": best.job.trial.trial_id,
        "epochs": epochs,
        "seeds": len(usable),
        name: statistics.fmean(values),
        f"{name}_std": statistics.stdev(values) if len(values) > 1 else 0.0,
        "test_loss": statistics.fmean(result.metrics["test_loss"] for result in usable),
        "seconds": sum(result.seconds for result in usable),
    }
