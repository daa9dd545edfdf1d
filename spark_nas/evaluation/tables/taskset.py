"""TaskSet: learning curves of 1,000 Adam configurations on text classifiers (Metz et al., arXiv:2002.11887).

The file is an .npz with, for each task, `TASK/train` and `TASK/valid` float [N, R + 1]: measured losses before training
and after each of R equal stretches, which are the units of resource; in TaskSet R = 50, of 200 steps each. Many
trainings diverge: their losses are NaN, infinite or huge from some evaluation on. `docs/tables.md` has what makes such
a file from the published ones.
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
        valid = file.array(f"{task}/valid", "numbers", "N", "R + 1")
        train = file.array(f"{task}/train", "numbers", *valid.shape)
    if valid.shape[1] < 2:
        raise DataError(f"{path}: {task}/valid: has the loss before training only: {list(valid.shape)}")
    # The first column is the untrained network: resource 0.
    losses = np.where(valid[:, 1:] <= diverged_above, valid[:, 1:], np.nan)
    return CurveTable(losses, {"train_loss": train[:, 1:]})
