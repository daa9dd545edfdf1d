"""Optuna on a journal file, the quickest of its shared stores: one study, a process a worker, each with its share.

As its tutorial on distributed optimisation has it. Early stopping is by its successive halving pruner.
"""

from __future__ import annotations

from multiprocessing import get_context
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, epochs, train_epoch


def search(workload: Workload, folder: Path) -> None:
    """Create the study and run the workers."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    (folder / "out").mkdir(parents=True, exist_ok=True)
    optuna.create_study(storage=_storage(folder), study_name="orchestration")
    shares = [workload.trials // workload.workers] * workload.workers
    for extra in range(workload.trials % workload.workers):
        shares[extra] += 1
    context = get_context("fork")
    workers = [
        context.Process(target=_work, args=(workload, folder, number, share)) for number, share in enumerate(shares)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode for worker in workers):
        raise RuntimeError(f"workers ended with {[worker.exitcode for worker in workers]}")


def objective(workload: Workload, folder: Path, trial: optuna.Trial) -> float:
    """One trial: an epoch at a time, reporting each where there is something to stop early."""
    configuration = Configuration(*(trial.suggest_float(name, *bounds) for name, bounds in SPACE.items()))
    loss = 0.0
    for epoch in epochs(workload):
        loss = train_epoch(workload, folder, configuration, epoch)
        if workload.early_stopping:
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
    return loss


def pruner(workload: Workload) -> optuna.pruners.BasePruner:
    """Asynchronous successive halving from one epoch on, or none."""
    if not workload.early_stopping:
        return optuna.pruners.NopPruner()
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=workload.eta)


def _storage(folder: Path) -> JournalStorage:
    return JournalStorage(JournalFileBackend(str(folder / "out" / "journal.log")))


def _work(workload: Workload, folder: Path, number: int, trials: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        study_name="orchestration",
        storage=_storage(folder),
        sampler=optuna.samplers.RandomSampler(seed=number + 1),
        pruner=pruner(workload),
    )
    study.optimize(lambda trial: objective(workload, folder, trial), n_trials=trials)
