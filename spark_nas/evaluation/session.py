"""One training job: the network, its method and its optimiser, from a checkpoint through epochs to a checkpoint."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Protocol

import torch
from torch import nn, optim

from spark_nas.errors import Diverged, JobError
from spark_nas.evaluation import checkpoint as checkpoints
from spark_nas.evaluation.augmentation import Augmentation
from spark_nas.evaluation.checkpoint import Checkpoint
from spark_nas.evaluation.determinism import seed_torch
from spark_nas.evaluation.feed import Batches, Feed
from spark_nas.evaluation.loop import Course, Measured, fit, measure
from spark_nas.evaluation.oneshot.protocol import Method
from spark_nas.evaluation.optimisers import OPTIMISERS, averaged, observe
from spark_nas.evaluation.text_feed import TextFeed, is_text
from spark_nas.evaluation.training import Training
from spark_nas.search.protocols import Dataset, Workspace
from spark_nas.search.records import Architecture, CurvePoint, Job, Outcome, Recipe
from spark_nas.spaces.core import SearchSpace, open_choices


class Evaluation(Protocol):
    """What a session needs of the evaluator it belongs to."""

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        ...

    @property
    def dataset(self) -> Dataset:
        """The task's data."""
        ...

    @property
    def max_resource(self) -> int:
        """R."""
        ...

    @property
    def train_on(self) -> tuple[str, ...]:
        """The splits whose rows are an epoch."""
        ...

    @property
    def network_builder(self) -> Callable[[SearchSpace, Architecture, Recipe, tuple[int, ...], int], nn.Module]:
        """Makes the network."""
        ...

    def build_method(self, architecture: Architecture) -> Method:
        """Makes what searches the open choices."""
        ...


@dataclass(frozen=True)
class Setting:
    """What a job finds when it begins."""

    evaluation: Evaluation
    job: Job
    options: Training
    """With the trial's recipe."""
    horizon: int
    """Epochs that the schedules span."""
    device: torch.device
    workspace: Workspace

    def network(self, architecture: Architecture) -> nn.Module:
        """A network of the trial's recipe on the device, with fresh weights: a function of the trial's seed."""
        dataset, trial = self.evaluation.dataset, self.job.trial
        seed_torch(self.device, trial.seed, "weights")
        # Built on the CPU and then moved, so that a network starts alike on every device.
        network = self.evaluation.network_builder(
            self.evaluation.space, architecture, trial.recipe, dataset.input_shape, dataset.classes
        )
        network.to(self.device)
        if self.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def course(self) -> Course:
        """What stays the same over all epochs."""
        seed = self.job.trial.seed
        return Course(
            self.options, self._feed(), self.evaluation.train_on, seed, self.horizon, self.workspace.check_time
        )

    def identity(self, architecture: Architecture) -> dict[str, str]:
        """What all jobs of a trial of this recipe and seed have in common, as texts that a message can show."""
        trial = self.job.trial
        return {
            "space": repr(self.evaluation.space),
            "architecture": architecture.to_json(),
            "recipe": json.dumps(dict(trial.recipe), sort_keys=True),
            "training": json.dumps(asdict(self.options), sort_keys=True),
            "max_resource": str(self.evaluation.max_resource),
            "seed": str(trial.seed),
            "splits": "+".join(self.evaluation.train_on),
        }

    @property
    def channels_last(self) -> bool:
        """Whether images lie in memory channels last."""
        return self.options.channels_last and len(self.evaluation.dataset.input_shape) == 3

    def _feed(self) -> Batches:
        dataset, options = self.evaluation.dataset, self.options
        if is_text(dataset):
            if options.ghost_batch:  # by a recipe, of which the data set is not known where it is checked
                raise JobError(f"ghost_batch: {options.ghost_batch}: a text's windows are not cut into groups: use 0")
            return TextFeed(dataset, self.device, bptt=options.bptt, variable=options.variable_bptt)
        augmentation = Augmentation(options.crop_padding, options.flip, options.cutout)
        return Feed(dataset, self.device, augmentation, channels_last=self.channels_last)


@dataclass
class Session:
    """One training job's live objects."""

    network: nn.Module
    method: Method
    optimiser: optim.Optimizer
    course: Course
    identity: dict[str, str]
    job: Job
    open_choices: int
    """How many choices the architecture leaves to the method."""
    epoch: int = 0
    """Epochs trained so far."""
    curve: list[CurvePoint] = field(default_factory=list)
    """What this job has measured, by whichever attempts."""
    _measured: dict[str, Measured] = field(default_factory=dict)
    _measured_at: int = -1

    @staticmethod
    def begin(setting: Setting) -> Session:
        """Everything as it is before the first epoch: a function of the trial's seed."""
        job, options, evaluation = setting.job, setting.options, setting.evaluation
        architecture = job.trial.architecture
        network = setting.network(architecture)
        seed_torch(setting.device, job.trial.seed, "method")
        method = evaluation.build_method(architecture).to(setting.device)
        optimiser = OPTIMISERS[options.optimizer](network.parameters(), options)
        undecided = len(open_choices(evaluation.space, architecture))
        identity = setting.identity(architecture)
        return Session(network, method, optimiser, setting.course(), identity, job, undecided)

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

    def train_to(self, resource: int, workspace: Workspace, *, watch: str | None) -> None:
        """The remaining epochs up to `resource`, each a point of the curve, and each but the last a chance to keep."""
        for point in self.curve:  # of an earlier attempt
            workspace.report(point)
        if self.epoch > resource:
            raise JobError(f"the checkpoint has had {self.epoch} epochs, more than the {resource} asked for")
        epochs = range(self.epoch, resource)
        for epoch, train, rate in fit(self.network, self.method, self.optimiser, self.course, epochs):
            self.epoch = epoch + 1
            metrics = {**named("train", train), "learning_rate": rate, **self.method.diagnostics()}
            loss = objective(train, self.course.options)
            if watch is not None:
                try:
                    watched = self.measure(watch)
                except Diverged:  # which the epoch has shown, so it counts
                    workspace.report(CurvePoint(self.epoch, math.nan, metrics))
                    raise
                metrics |= named(watch, watched)
                loss = objective(watched, self.course.options)
            observe(self.optimiser, loss)
            self.curve.append(CurvePoint(self.epoch, loss, metrics))
            workspace.report(self.curve[-1])
            if self.epoch < resource:
                workspace.keep(self._state_of_job)

    def measure(self, split: str) -> Measured:
        """Loss and error of a split now; each split is passed over once an epoch."""
        if self.epoch != self._measured_at:
            self._measured.clear()
            self._measured_at = self.epoch
        if split not in self._measured:
            gates, shared = self.method.evaluation_gates, self.open_choices > 0
            with averaged(self.optimiser):
                self._measured[split] = measure(self.network, gates, self.course, split, shared=shared)
        return self._measured[split]

    def dump(self) -> bytes:
        """The state after the last epoch, which the next job goes on from, whether it was the best or not."""
        return checkpoints.dump(self._checkpoint(self.identity))

    def outcome(self, report: str) -> Outcome:
        """The last epoch's measurements, those of the split to report, and the number of parameters."""
        final = self.measure(report)
        metrics = {**(self.curve[-1].metrics if self.curve else {}), **named(report, final)}
        metrics["parameters"] = float(sum(parameter.numel() for parameter in self.network.parameters()))
        if self.open_choices:
            metrics["open_choices"] = float(self.open_choices)
        seed_torch(self.course.feed.device, self.course.seed, "derive", self.epoch)
        return Outcome(objective(final, self.course.options), metrics, tuple(self.curve), self.method.derive())

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


def objective(measured: Measured, options: Training) -> float:
    """What a trial is ranked by."""
    return measured.error if options.objective == "error" else measured.loss


def named(split: str, measured: Measured) -> dict[str, float]:
    """Measurements under the names they have in the results table."""
    return {f"{split}_loss": measured.loss, f"{split}_error": measured.error}
