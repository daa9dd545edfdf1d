"""The Python API: the commands as functions, for programs and notebooks. `spark_nas.search` is `spark_nas.api.search`.

    import spark_nas
    from spark_nas import Asha, NasBench201, SparkAsync, Training

    digits = spark_nas.prepare_data("digits", "/data/digits", if_missing=True)
    run = spark_nas.search(
        space=NasBench201(channels=8), scheduler=Asha(max_resource=27), evaluator=Training(), data=digits,
        engine=SparkAsync(), output="/data/runs", run_id="first", spark=spark,
    )
    run.leaderboard        # a DataFrame

A section of an experiment is what the file has (a name, or a mapping), or an options dataclass, also one of your own
that `assemble.COMPONENTS` does not list: it is written into `run.json` as `module:Class` with its fields, and made anew
from there, so a run that began in a program is continued, retrained and reported like any other. Hence its class stands
at the top level of a module or notebook, and its fields hold what a file can: numbers, texts, lists, mappings.

All errors are `errors.SparkNasError`, one line long. A call that was interrupted (the stop button, SIGTERM, its time)
hands out no more jobs, gives those in flight `grace` seconds, and raises Unfinished; the same call continues.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_nas.commands import prepare_data as shards
from spark_nas.commands import retrain as retraining
from spark_nas.commands import runs
from spark_nas.commands import search as searching
from spark_nas.commands.endings import Ending
from spark_nas.composing import check_session, compose
from spark_nas.config import Budget, Retrain
from spark_nas.data.dataset import ShardedData
from spark_nas.data.folder import open_folder
from spark_nas.data.prepare import SHARDS, TEST_FRACTION, VALID_FRACTION
from spark_nas.engines.local import Local
from spark_nas.engines.session import Session, open_session
from spark_nas.engines.simulated import Simulated
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.engines.spark_distributed import SparkDistributed
from spark_nas.engines.spark_rounds import SparkRounds
from spark_nas.errors import SearchFailed, SparkNasError, Unfinished, UsageError
from spark_nas.evaluation.synthetic import Synthetic
from spark_nas.evaluation.tabular import Tabular
from spark_nas.evaluation.training import Training
from spark_nas.object_store import StorageOptions
from spark_nas.run import Best, Report, Run
from spark_nas.search.records import CurvePoint, Job, Outcome, Proposal, Result
from spark_nas.search.samplers.given import Given
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.one_shot import OneShot
from spark_nas.search.schedulers.stopping import StoppingAsha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.spaces.core import Architecture, Choice
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.enas_macro import EnasMacro
from spark_nas.spaces.enas_micro import EnasMicro
from spark_nas.spaces.enas_rnn import EnasRnn
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.own import Space
from spark_nas.spaces.proxyless import Proxyless
from spark_nas.spaces.table import TableRows
from spark_nas.spaces.wide_resnet import WideResNet
from spark_nas.tracking.mlflow import Mlflow
from spark_nas.tracking.tensorboard import TensorBoard

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = [
    "Architecture",
    "Asha",
    "AsynchronousHyperband",
    "Best",
    "Budget",
    "Choice",
    "CurvePoint",
    "Darts",
    "DartsRnn",
    "EnasMacro",
    "EnasMicro",
    "EnasRnn",
    "FullTraining",
    "Given",
    "Hyperband",
    "Job",
    "Local",
    "Mlflow",
    "Mlp",
    "NasBench201",
    "OneShot",
    "Outcome",
    "Proposal",
    "Proxyless",
    "RandomSearch",
    "Report",
    "Result",
    "Retrain",
    "Run",
    "SearchFailed",
    "Session",
    "ShardedData",
    "Simulated",
    "Space",
    "SparkAsync",
    "SparkDistributed",
    "SparkNasError",
    "SparkRounds",
    "StoppingAsha",
    "StorageOptions",
    "SuccessiveHalving",
    "Synthetic",
    "TableRows",
    "Tabular",
    "TensorBoard",
    "Training",
    "Unfinished",
    "UsageError",
    "WideResNet",
    "load_run",
    "open_session",
    "prepare_data",
    "report",
    "retrain",
    "search",
]
"""The stable public surface: what `spark_nas.NAME` is."""


def search(
    experiment: str | Path | Mapping[str, Any] | None = None,
    *,
    output: str | Path,
    run_id: str | None = None,
    spark: SparkSession | None = None,
    space: object = None,
    recipe: Mapping[str, object] | None = None,
    sampler: object = None,
    scheduler: object = None,
    method: object = None,
    evaluator: object = None,
    engine: object = None,
    data: object = None,
    tracking: object = None,
    seed: int | None = None,
    budget: Budget | None = None,
    retrain: Retrain | None = None,
    storage: StorageOptions | None = None,
    time_budget: float | None = None,
    grace: float = 60.0,
    keep_checkpoints: bool = False,
) -> Run:
    """Run a search, or continue it where it stood: `experiment` (a file or a mapping), with these sections instead.

    `data` may be the path of a data set; `output` is the folder of runs, below which `run_id` (default: the
    experiment's name) is this one's. `spark` is used as it is and left open; without it an engine on Spark takes the
    session that is there, or makes its own and stops it. `time_budget` and `grace` are in seconds.

    Raises UsageError for bad input, SearchFailed when no trial completed, and Unfinished when it ended before its end.
    """
    sections = {"space": space, "recipe": recipe, "sampler": sampler, "scheduler": scheduler, "method": method}
    sections |= {"evaluator": evaluator, "engine": engine, "data": data, "seed": seed, "budget": budget}
    sections |= {"retrain": retrain, "storage": storage, "tracking": tracking}
    checked = compose(experiment, sections, spark)
    name = run_id or checked.name
    with Ending(time_budget=time_budget, grace=grace, interruptible=True) as ending:
        parts, files = searching.opened(checked, str(output), name)
        searching.search(parts, files, name, ending=ending, spark=spark, keep_checkpoints=keep_checkpoints)
    return load_run(files.root, storage=checked.storage)


def retrain(
    run: Run | str | Path,
    *,
    epochs: int | None = None,
    seeds: int | None = None,
    spark: SparkSession | None = None,
    time_budget: float | None = None,
    grace: float = 60.0,
) -> Run:
    """Train the best trial of a run from scratch, `seeds` times, and measure it on the test split, once.

    Left out, `epochs` and `seeds` are those of the experiment's section `retrain`. Returns the run with `retrained`.
    Raises as `search`, and UsageError when there is nothing to retrain.
    """
    opened = _opened(run)
    check_session(opened.experiment, spark)
    retraining.retrain(opened, epochs, seeds, spark=spark, time_budget=time_budget, grace=grace, interruptible=True)
    return Run.of(opened)


def prepare_data(
    source: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    shards_per_split: int = SHARDS,
    seed: int | None = None,
    valid_fraction: float = VALID_FRACTION,
    test_fraction: float = TEST_FRACTION,
    name: str | None = None,
    image_size: int | None = None,
    level: str | None = None,
    vocabulary: int | None = None,
    overwrite: bool = False,
    if_missing: bool = False,
    spark: SparkSession | None = None,
) -> ShardedData:
    """Write a data set as shards that driver and executors can read; returns what `search` takes as `data`.

    `source` is what `spark-nas prepare-data` takes: `digits`, a path, or `("text", FILE, ...)`. Fractions are of the
    training examples (or tokens) and, where the source has no test split, of all; `image_size` is an edge in pixels.
    `seed` (1 where it is left out) is that of splits and shuffling, of which a text has none. With `if_missing`, a data
    set that is there stays as it is. `spark` is used and left open. Raises UsageError.
    """
    words = [str(source)] if isinstance(source, str | Path) else [str(word) for word in source]
    options: dict[str, Any] = {"image_size": image_size, "level": level, "vocabulary": vocabulary, "name": name}
    options |= {"valid_fraction": valid_fraction, "test_fraction": test_fraction, "overwrite": overwrite}
    print(
        shards.write_shards(
            words, str(output), shards=shards_per_split, seed=seed, if_missing=if_missing, spark=spark, **options
        )
    )
    return ShardedData(open_folder(str(output)).location)


def load_run(location: str | Path, *, storage: StorageOptions | None = None) -> Run:
    """The run in a folder OUTPUT/RUN_ID, finished or not, also while a driver works on it.

    `storage` says how an object store is reached where neither environment nor record do: what differs in it from
    `StorageOptions()` takes the place of what the record says. Raises OutputError where no run has begun.
    """
    unsaid = dataclasses.asdict(StorageOptions())
    said = dataclasses.asdict(storage) if storage is not None else unsaid
    settings = [f"storage.{key}={json.dumps(value)}" for key, value in said.items() if value != unsaid[key]]
    return Run.of(runs.Run(str(location), settings))


def report(run: Run | str | Path, *, top: int = 20) -> Report:
    """Write the report page into the run's folder, its leaderboard `top` trials long. Raises OutputError."""
    return Run.of(_opened(run)).report(top)


def _opened(run: Run | str | Path) -> runs.Run:
    return run.opened if isinstance(run, Run) else runs.Run(str(run))
