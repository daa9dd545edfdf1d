"""Runs one training job: from its checkpoint through the remaining epochs to its result and its own checkpoint."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import torch
from torch import nn, optim

from spark_nas.errors import JobError, OptionError
from spark_nas.evaluation import checkpoint as checkpoints
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.checkpoint import Checkpoint
from spark_nas.evaluation.determinism import seed_torch, torch_settings
from spark_nas.evaluation.feed import Feed
from spark_nas.evaluation.loop import Course, Measured, fit, measure
from spark_nas.evaluation.oneshot.protocol import Fixed, OneShotMethod
from spark_nas.evaluation.optimisers import OPTIMISERS
from spark_nas.evaluation.training import Training
from spark_nas.search.protocols import Dataset, Workspace
from spark_nas.search.records import Architecture, CurvePoint, Job, Outcome, Recipe, Trial
from spark_nas.spaces.core import SearchSpace

NetworkBuilder = Callable[[SearchSpace, Architecture, Recipe, tuple[int, ...], int], nn.Module]
"""(space, architecture, recipe, input shape, classes) -> network."""

_log = logging.getLogger(__name__)


def build_network(
    space: SearchSpace, architecture: Architecture, recipe: Recipe, input_shape: tuple[int, ...], classes: int
) -> nn.Module:
    """The network of a space that has options to build it by."""
    from spark_nas.evaluation.networks.build import build

    options = getattr(space, "options", None)
    if options is None:
        raise OptionError(
            "space", space.name, "has no network to train: use a space of networks or a tabular evaluator"
        )
    network: nn.Module = build(options, architecture, recipe, input_shape, classes)
    return network


@dataclass(frozen=True)
class TrainingEvaluator:
    """Trains a trial with ordinary training (`Fixed`) and measures it. Resource is in epochs. Picklable.

    Law: on a CPU, the metrics at an epoch are bitwise the same however the trial was cut into jobs, whichever
    processes ran them, and at whichever epochs one died and another went on from what it had kept.
    """

    space: SearchSpace
    options: Training
    dataset: Dataset
    max_resource: int
    """R, the epochs that schedules span."""
    train_on: tuple[str, ...] = ("train",)
    watch: str | None = "valid"
    """The split measured after every epoch; None measures none."""
    report: str = "valid"
    """The split of the outcome's loss."""
    network_builder: NetworkBuilder = field(default=build_network)

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """Train from where `job.start_from` ended up to `job.resource` epochs, and leave the state there.

        Raises Diverged, TimeLimitExceeded, and JobError for a checkpoint that does not fit the job.
        """
        device = torch.device(workspace.device)
        options = self.options.with_recipe(job.trial.recipe)
        if job.resource > self.max_resource and options.schedule != "constant":
            raise JobError(
                f"{job.resource} epochs asked for, but the {options.schedule} schedule ends at {self.max_resource}: "
                "use schedule: constant where training has no end"
            )
        with torch_settings(device, threads=workspace.threads, deterministic=options.deterministic):
            session = self._begin(job, options, device, workspace)
            session.train_to(job.resource, watch=self.watch, keep=workspace.keep)
            outcome = session.outcome(self.report)
            workspace.save(session.dump())
            return outcome

    def _begin(self, job: Job, options: Training, device: torch.device, workspace: Workspace) -> _Session:
        """A session where an earlier attempt at this job stood last, or else where the job starts."""
        session = _Session.begin(self, job, options, device, workspace)
        kept = workspace.recover()
        if kept is not None:
            try:
                session.recover(kept)
            except Exception as error:  # damaged, foreign, of another version of the code: it is worth nothing then
                _log.warning("job %s starts anew, as it cannot use its recovery checkpoint: %s", tuple(job.key), error)
                session = _Session.begin(self, job, options, device, workspace)
            else:
                return session
        session.restore(workspace.load())
        return session


@dataclass
class _Session:
    """One job's live objects."""

    network: nn.Module
    method: OneShotMethod
    optimiser: optim.Optimizer
    course: Course
    identity: dict[str, str]
    job: Job
    epoch: int = 0
    """Epochs trained so far."""
    curve: list[CurvePoint] = field(default_factory=list)
    """What this job has measured, by whichever attempts."""
    _measured: dict[str, Measured] = field(default_factory=dict)
    _measured_at: int = -1

    @staticmethod
    def begin(
        evaluator: TrainingEvaluator, job: Job, options: Training, device: torch.device, workspace: Workspace
    ) -> _Session:
        """Everything as it is before the first epoch: a function of the trial's seed."""
        dataset, trial = evaluator.dataset, job.trial
        seed_torch(device, trial.seed, "weights")
        # Built on the CPU and then moved, so that a network starts alike on every device.
        network = evaluator.network_builder(
            evaluator.space, trial.architecture, trial.recipe, dataset.input_shape, dataset.classes
        )
        network.to(device)
        images = len(dataset.input_shape) == 3
        if options.channels_last and images:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        augmentation = Augmentation(options.crop_padding, options.flip, options.cutout)
        feed = Feed(dataset, device, augmentation, channels_last=options.channels_last and images)
        course = Course(options, feed, evaluator.train_on, trial.seed, evaluator.max_resource, workspace.check_time)
        optimiser = OPTIMISERS[options.optimizer](network.parameters(), options)
        return _Session(network, Fixed(), optimiser, course, _identity(evaluator, trial, options), job)

    def restore(self, data: bytes | None) -> None:
        """Go on from a checkpoint; None stays at the start."""
        if data is None:
            return
        self._load(checkpoints.load(data, self.identity))

    def recover(self, data: bytes) -> None:
        """Go on from what an earlier attempt has kept. Raises JobError, or anything, when it cannot be used."""
        checkpoint = checkpoints.load(data, self._identity_of_job())
        self._load(checkpoint)
        self.curve = [CurvePoint(resource, loss, metrics) for resource, loss, metrics in checkpoint.curve]

    def train_to(self, resource: int, *, watch: str | None, keep: Callable[[Callable[[], bytes]], None]) -> None:
        """The remaining epochs up to `resource`, each a point of the curve, and each but the last a chance to keep."""
        if self.epoch > resource:
            raise JobError(f"the checkpoint has had {self.epoch} epochs, more than the {resource} asked for")
        epochs = range(self.epoch, resource)
        for epoch, train, rate in fit(self.network, self.method, self.optimiser, self.course, epochs):
            self.epoch = epoch + 1
            metrics = {**_named("train", train), "learning_rate": rate}
            loss = self._objective(train)
            if watch is not None:
                watched = self.measure(watch)
                metrics |= _named(watch, watched)
                loss = self._objective(watched)
            self.curve.append(CurvePoint(self.epoch, loss, metrics))
            if self.epoch < resource:
                keep(self._state_of_job)

    def measure(self, split: str) -> Measured:
        """Loss and error of a split now; each split is passed over once an epoch."""
        if self.epoch != self._measured_at:
            self._measured.clear()
            self._measured_at = self.epoch
        if split not in self._measured:
            self._measured[split] = measure(self.network, self.method.gates(), self.course, split)
        return self._measured[split]

    def dump(self) -> bytes:
        """The state after the last epoch, which the next job goes on from, whether it was the best or not."""
        return checkpoints.dump(self._checkpoint(self.identity))

    def outcome(self, report: str) -> Outcome:
        """The last epoch's measurements, those of the split to report, and the number of parameters."""
        final = self.measure(report)
        metrics = {**(self.curve[-1].metrics if self.curve else {}), **_named(report, final)}
        metrics["parameters"] = float(sum(parameter.numel() for parameter in self.network.parameters()))
        return Outcome(self._objective(final), metrics, tuple(self.curve), self.method.derive())

    def _state_of_job(self) -> bytes:
        """What another attempt at this job goes on from: the state and the curve so far."""
        curve = [[point.resource, point.loss, point.metrics] for point in self.curve]
        return checkpoints.dump(replace(self._checkpoint(self._identity_of_job()), curve=curve))

    def _checkpoint(self, identity: dict[str, str]) -> Checkpoint:
        states = self.network.state_dict(), self.optimiser.state_dict(), self.method.state_dict()
        return Checkpoint(identity, self.epoch, *states)

    def _load(self, checkpoint: Checkpoint) -> None:
        self.network.load_state_dict(checkpoint.network)
        self.optimiser.load_state_dict(dict(checkpoint.optimiser))
        self.method.load_state_dict(checkpoint.method)
        self.epoch = checkpoint.epoch

    def _identity_of_job(self) -> dict[str, str]:
        return {**self.identity, "job": repr((self.job.rung, self.job.resource, self.job.start_from))}

    def _objective(self, measured: Measured) -> float:
        return measured.error if self.course.options.objective == "error" else measured.loss


def _named(split: str, measured: Measured) -> dict[str, float]:
    return {f"{split}_loss": measured.loss, f"{split}_error": measured.error}


def _identity(evaluator: TrainingEvaluator, trial: Trial, options: Training) -> dict[str, str]:
    """What all jobs of a trial have in common, as texts that a message can show."""
    return {
        "space": repr(evaluator.space),
        "architecture": trial.architecture.to_json(),
        "recipe": json.dumps(dict(trial.recipe), sort_keys=True),
        "training": json.dumps(asdict(options), sort_keys=True),
        "max_resource": str(evaluator.max_resource),
        "seed": str(trial.seed),
        "splits": "+".join(evaluator.train_on),
    }
