"""MLflow's Spark study: Optuna in `mapInPandas`, as Databricks documents it. The tracking store is a local SQLite file.

The trials are dealt out to the tasks beforehand, in equal parts. A tracking server elsewhere would be slower.
"""

from __future__ import annotations

from pathlib import Path

import mlflow
import optuna
from mlflow.optuna.storage import MlflowStorage
from mlflow.pyspark.optuna.study import MlflowSparkStudy

from benchmarks.orchestration.objective import Workload
from benchmarks.orchestration.rivals.optuna_journal import objective, pruner
from benchmarks.orchestration.rivals.spark_itself import local_session


def search(workload: Workload, folder: Path) -> None:
    """Run it."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    tracking = f"sqlite:///{folder}/out/mlflow.db"
    mlflow.set_tracking_uri(tracking)
    experiment = mlflow.create_experiment("orchestration", artifact_location=f"file://{folder}/out/artifacts")
    session = local_session(workload.workers)
    study = MlflowSparkStudy(
        study_name="orchestration",
        storage=MlflowStorage(experiment_id=experiment),
        sampler=optuna.samplers.RandomSampler(),
        pruner=pruner(workload),
        mlflow_tracking_uri=tracking,
    )
    study.optimize(lambda trial: objective(workload, folder, trial), n_trials=workload.trials, n_jobs=workload.workers)
    session.stop()
