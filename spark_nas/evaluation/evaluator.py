"""The evaluator that trains: a trial from its checkpoint through the remaining epochs, a supernet, a child's score."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from torch import nn

from spark_nas.errors import JobError, OptionError
from spark_nas.evaluation import group
from spark_nas.evaluation.determinism import torch_settings
from spark_nas.evaluation.oneshot.protocol import Fixed, Method, MethodOptions
from spark_nas.evaluation.scoring import score
from spark_nas.evaluation.session import Session, Setting
from spark_nas.evaluation.training import Training
from spark_nas.search.protocols import Dataset, Peers, Workspace
from spark_nas.search.records import Architecture, Job, Outcome, Recipe
from spark_nas.spaces.core import SearchSpace, open_choices

NetworkBuilder = Callable[[SearchSpace, Architecture, Recipe, tuple[int, ...], int], nn.Module]
"""(space, architecture, recipe, input shape, classes) -> network."""

_log = logging.getLogger(__name__)


def build_network(
    space: SearchSpace, architecture: Architecture, recipe: Recipe, input_shape: tuple[int, ...], classes: int
) -> nn.Module:
    """The network of a space that has options to build it by; in its search form where choices are open."""
    from spark_nas.evaluation.networks.build import build

    options = getattr(space, "options", None)
    if options is None:
        raise OptionError(
            "space", space.name, "has no network to train: use a space of networks or a tabular evaluator"
        )
    decided = not open_choices(space, architecture)
    network: nn.Module = build(options, architecture, recipe, input_shape, classes, affine=decided)
    return network


@dataclass(frozen=True)
class TrainingEvaluator:
    """Trains a trial and measures it. Resource is in epochs. Picklable.

    What the architecture leaves open is searched by `method`; a decided one is trained as it is (`Fixed`). A job of
    resource 0 that starts from a supernet's checkpoint trains nothing: it scores its architecture with the shared
    weights.

    Law: on a CPU, the metrics at an epoch are bitwise the same however the trial was cut into jobs, whichever
    processes ran them, and at whichever epochs one died and another went on from what it had kept.
    """

    space: SearchSpace
    options: Training
    dataset: Dataset
    max_resource: int
    """R, the epochs that schedules span, unless `options.horizon` or a recipe says otherwise."""
    train_on: tuple[str, ...] = ("train",)
    watch: str | None = "valid"
    """The split measured after every epoch; None measures none."""
    report: str = "valid"
    """The split of the outcome's loss."""
    network_builder: NetworkBuilder = field(default=build_network)
    method: MethodOptions | None = None

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """Train from where `job.start_from` ended up to `job.resource` epochs, and leave the state there.

        Raises Diverged, TimeLimitExceeded, and JobError for a checkpoint that does not fit the job.
        """
        device = torch.device(workspace.device)
        options = self.options.with_recipe(job.trial.recipe)
        horizon = options.horizon or self.max_resource
        if job.resource > horizon and options.schedule != "constant":
            raise JobError(
                f"{job.resource} epochs asked for, but the {options.schedule} schedule ends at {horizon}: "
                "use schedule: constant where training has no end"
            )
        setting = Setting(self, job, options, horizon, device, workspace)
        with torch_settings(device, threads=workspace.threads, deterministic=options.deterministic):
            if job.resource == 0 and job.start_from is not None:
                return score(setting, self.report)
            session = self._begin(setting)
            session.train_to(job.resource, workspace, watch=self.watch)
            outcome = session.outcome(self.report)
            workspace.save(session.dump())
            return outcome

    def join(self, device: str) -> AbstractContextManager[Peers]:
        """`search.protocols.ParallelEvaluator`: within, `evaluate` trains data-parallel with the other processes."""
        return group.join(torch.device(device))

    def build_method(self, architecture: Architecture) -> Method:
        """What runs and learns the choices that an architecture leaves open."""
        undecided = open_choices(self.space, architecture)
        if not undecided:
            return Fixed()
        if self.method is None:
            raise JobError(f"choice {undecided[0]!r} is open, and there is no method to search it")
        return self.method.build(self.space)

    def _begin(self, setting: Setting) -> Session:
        """A session where an earlier attempt at this job stood last, or else where the job starts."""
        workspace, job = setting.workspace, setting.job
        session = Session.begin(setting)
        kept = group.from_first(workspace.recover())
        if kept is not None:
            try:
                session.recover(kept)
            except Exception as error:  # damaged, foreign, of another version of the code: it is worth nothing then
                _log.warning("job %s starts anew, as it cannot use its recovery checkpoint: %s", tuple(job.key), error)
                session = Session.begin(setting)
            else:
                return session
        session.restore(group.from_first(workspace.load()))
        return session
