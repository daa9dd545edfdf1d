"""TaskSet: learning curves of 1,000 Adam configurations on text classifiers (Metz et al., arXiv:2002.11887).

The file is an .npz with, for each task, `TASK/train` and `TASK/valid` float32 [N, 51]: losses before training and after
each of 50 equal stretches of 200 steps, which are the units of resource. Many trainings diverge: their losses are NaN,
infinite or huge from some evaluation on.
"""

from __future__ import annotations

import numpy as np

from spark_nas.errors import DataError
from spark_nas.evaluation.tables.files import TableFile, task_of
from spark_nas.evaluation.tables.rows import CurveTable


def load(path: str, task: str | None, *, diverged_above: float) -> CurveTable:
    """The curves of one task. Raises DataError, and OptionError for an unknown task.

    A validation loss above `diverged_above` (nats) counts as not finite.
    """
    with TableFile(path) as file:
        task = task_of(task, file.tasks("valid"))
        valid, train = file.array(f"{task}/valid"), file.array(f"{task}/train")
    if valid.ndim != 2 or valid.shape != train.shape:
        raise DataError(f"{path}: {task}: validation curves {valid.shape} do not go with training curves {train.shape}")
    # The first column is the untrained network: resource 0.
    losses = np.where(valid[:, 1:] <= diverged_above, valid[:, 1:], np.nan)
    return CurveTable(losses, {"train_loss": train[:, 1:]})
