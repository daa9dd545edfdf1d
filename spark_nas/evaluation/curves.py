"""Evaluators that look a training up instead of doing it: the shared half of `tabular` and `synthetic`.

A `CurveSource` knows what a trial's training measures after each unit of resource. `CurveEvaluator` plays it back
as jobs: only the units a job adds, from the checkpoint on, exactly as a real training would, on any engine.
"""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

from spark_nas.errors import Diverged, JobError
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import CurvePoint, Job, Outcome, Trial


class CurveSource(Protocol):
    """What is known of every trial's training. Picklable."""

    def resources(self) -> range:
        """The consecutive resources at which something is known."""
        ...

    def point(self, trial: Trial, resource: int) -> CurvePoint:
        """The measurements at one of `resources()`; a loss that is not finite means that the training diverged."""
        ...

    def seconds(self, trial: Trial, resource: int) -> float:
        """Seconds for training from scratch to `resource`."""
        ...


class CurveEvaluator:
    """Plays curves back. Its checkpoint is the resource reached, in decimal digits."""

    small_checkpoints: ClassVar[bool] = True

    def __init__(self, source: CurveSource) -> None:
        self._source = source

    @property
    def resources(self) -> range:
        """The resources to which a job may train."""
        return self._source.resources()

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        """The curve from the checkpoint's resource (0 without one) to the job's.

        Raises Diverged at the first loss that is not finite, JobError for a resource the source does not know.
        """
        self._check(job)
        start = int(workspace.load() or b"0")
        curve = tuple(self._source.point(job.trial, resource) for resource in self._between(start, job.resource))
        for point in curve:
            workspace.report(point)
            if not math.isfinite(point.loss):
                raise Diverged(f"loss {point.loss} after {point.resource} units of resource")
        workspace.save(b"%d" % job.resource)
        last = curve[-1] if curve else self._source.point(job.trial, job.resource)
        return Outcome(last.loss, last.metrics, curve)

    def seconds(self, job: Job, start: int) -> float:
        """Seconds for training from `start` to the job's resource, or to where the training diverges."""
        if job.resource not in self.resources:
            return 0.0
        end = job.resource
        for resource in self._between(start, end):
            if not math.isfinite(self._source.point(job.trial, resource).loss):
                end = resource
                break
        before = self._source.seconds(job.trial, start) if start else 0.0
        return self._source.seconds(job.trial, end) - before

    def _between(self, start: int, end: int) -> range:
        return range(max(self.resources.start, start + 1), end + 1)

    def _check(self, job: Job) -> None:
        if job.resource not in self.resources:
            known = self.resources
            where = f"{known[0]}" if len(known) == 1 else f"{known[0]} to {known[-1]}"
            raise JobError(f"nothing is known after {job.resource} units of resource, only after {where}")
