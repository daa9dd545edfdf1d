"""LCBench: learning curves of funnel-shaped MLPs on OpenML tasks (Zimmer, Lindauer and Hutter, TPAMI 2021).

The file is an .npz with, for each task, `TASK/val_acc_u16` uint16 [N, R] (validation accuracy = value / 65535 after
epochs 1..R) and `TASK/time` [N, 2] (seconds after the first and the last epoch; linear in between). LCBench has R = 52
and N = 2,000, all measured; a file of more configurations is a surrogate's: its curves are what a model fitted on
those measurements says. The first of the 52 measurements was taken before anything was learnt, so rungs at one epoch
rank at random. `docs/tables.md` has what makes such a file from the published one.
"""

from __future__ import annotations

import numpy as np

from spark_nas.errors import DataError
from spark_nas.evaluation.tables.files import TableFile, task_of
from spark_nas.evaluation.tables.rows import CurveTable

_ACCURACY, _TIME = "val_acc_u16", "time"


def load(path: str, task: str | None) -> CurveTable:
    """The curves of one task; the loss is the error rate. Raises DataError, and OptionError for an unknown task."""
    with TableFile(path) as file:
        task = task_of(task, file.tasks(_ACCURACY))
        shares = file.array(f"{task}/{_ACCURACY}", "whole numbers", "N", "R")
        ends = file.array(f"{task}/{_TIME}", "numbers", len(shares), 2).astype(np.float64)
    if shares.dtype != np.uint16:
        raise DataError(f"{path}: {task}/{_ACCURACY}: is {shares.dtype}, and must be uint16: accuracy times 65535")
    accuracy = shares.astype(np.float64) / 65535
    seconds = np.linspace(ends[:, 0], ends[:, 1], accuracy.shape[1], axis=1)
    return CurveTable(1 - accuracy, {"accuracy": accuracy}, seconds)
