"""LCBench: learning curves of funnel-shaped MLPs on OpenML tasks (Zimmer, Lindauer and Hutter, TPAMI 2021).

The file is an .npz with, for each task, `TASK/val_acc_u16` uint16 [N, 52] (validation accuracy = value / 65535 after
epochs 1..52) and `TASK/time` [N, 2] (seconds after the first and the last epoch; linear in between). The first of the
52 measurements was taken before anything was learnt, so rungs at one epoch rank at random.
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
        accuracy = file.array(f"{task}/{_ACCURACY}").astype(np.float64) / 65535
        ends = file.array(f"{task}/{_TIME}").astype(np.float64)
    if accuracy.ndim != 2 or ends.shape != (len(accuracy), 2):
        raise DataError(f"{path}: curves of shape {accuracy.shape} do not go with times of shape {ends.shape}")
    seconds = np.linspace(ends[:, 0], ends[:, 1], accuracy.shape[1], axis=1)
    return CurveTable(1 - accuracy, {"accuracy": accuracy}, seconds)
