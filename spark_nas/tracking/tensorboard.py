"""TensorBoard event files: scalars by resource for each trial, and recipe and architecture for the HParams table.

A job's events are one file, written whole and renamed into place, whose name says its rung: what a killed driver has
written is there or not, and a continued search writes nothing twice. The format (a stream of length and checksum
framed protobufs) is written by TensorBoard's own record writer, without TensorFlow and without torch.
"""

from __future__ import annotations

import io
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_nas.errors import OptionError
from spark_nas.search.records import JobKey, Result
from spark_nas.tracking.background import Background
from spark_nas.tracking.tracked import Best, Ending, Tracked, instant, measurements, parameters

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]

_VERSION = "brain.Event:2"
"""What the first event of a file says, or TensorBoard does not read it."""
_END = 10**9
"""Sorts behind every rung: TensorBoard reads the files of a folder in the order of their names."""


@dataclass(frozen=True)
class TensorBoard:
    """Options of TensorBoard's event files."""

    folder: str | None = None
    """Where the event files go, a folder for each run below it: a path that the driver can write to, also that of a
    mounted bucket. None: `tensorboard` in the run's own folder."""
    queue: int = 10_000
    """How many results may wait to be written; more are left out, and said to be."""

    def __post_init__(self) -> None:
        if self.folder is not None and ("://" in self.folder or not self.folder):
            raise OptionError("folder", self.folder, "give the path of a folder, not the address of an object store")
        if self.queue < 1:
            raise OptionError("queue", self.queue, "give at least 1")

    def build(self, tracked: Tracked) -> Background:
        """The tracker. Raises OptionError where there is no folder to write to, or no tensorboard."""
        if find_spec("tensorboard") is None:
            raise OptionError("tracking", "tensorboard", "needs the package: pip install 'spark_nas[tensorboard]'")
        if self.folder is None and "://" in tracked.location:
            raise OptionError("folder", None, f"give a folder: {tracked.location} is no place for event files")
        folder = Path(tracked.location, "tensorboard") if self.folder is None else Path(self.folder, tracked.run_id)
        return Background(EventFiles(folder), size=self.queue)


class EventFiles:
    """`tracked.Sink`: `FOLDER/trial-000012/events.out.tfevents.0000000001.rung` is rung 1 of trial 12."""

    name = "TensorBoard"

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._last: dict[int, Result] = {}

    def open(self) -> None:
        """Make the folder."""
        self._folder.mkdir(parents=True, exist_ok=True)

    def write(self, results: Sequence[Result]) -> None:
        """A file for each result that has none."""
        for result in results:
            known = self._last.setdefault(result.job.trial.trial_id, result)
            if result.job.rung >= known.job.rung:
                self._last[result.job.trial.trial_id] = result
            if not self.has(result.job.key):
                self._write(self._path(*result.job.key), _events(result, first=result.job.rung == 0))

    def improve(self, bests: Sequence[Best]) -> None:
        """Nothing: the HParams table sorts by loss itself."""

    def has(self, key: JobKey) -> bool:
        """Whether the job's file is there."""
        return self._path(*key).exists()

    def finish(self, ending: Ending) -> None:
        """How each trial went, for the HParams table; nothing yet where the search will go on."""
        if ending != "finished":
            return
        for trial, result in self._last.items():
            self._write(self._path(trial, _END), [_event(instant(result), 0, _ended(result))])

    def _path(self, trial: int, rung: int) -> Path:
        kind = "rung" if rung < _END else "end"
        return self._folder / f"trial-{trial:06d}" / f"events.out.tfevents.{rung:010d}.{kind}"

    def _write(self, path: Path, events: Sequence[Event] | Iterator[Event]) -> None:
        """The whole file or none."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

        content = io.BytesIO()
        writer = RecordWriter(content)
        writer.write(Event(wall_time=time.time(), file_version=_VERSION).SerializeToString())
        for event in events:
            writer.write(event.SerializeToString())
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")  # no name that TensorBoard would read
        try:
            temporary.write_bytes(content.getvalue())
            os.replace(temporary, path)
        except OSError:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def _events(result: Result, *, first: bool) -> Iterator[Event]:
    """A job's scalars, each at its resource; with the trial's first, what kind of trial it is."""
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # type: ignore[import-untyped]

    if first:
        trial = result.job.trial
        began = result.started_at.timestamp()
        yield _event(began, 0, hparams_pb(parameters(trial), f"trial-{trial.trial_id:06d}", began))
    for name, value, step in sorted(measurements(result), key=lambda found: found[2]):
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        yield _event(instant(result), step, summary)


def _ended(result: Result) -> Any:  # noqa: ANN401 - TensorBoard's own protobuf, untyped
    """How a trial went, as the HParams table wants it: TensorBoard's own function for that needs TensorFlow."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS  # type: ignore[import-untyped]
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo  # type: ignore[import-untyped]

    status = STATUS_SUCCESS if result.status == "completed" else STATUS_FAILURE
    data = HParamsPluginData(session_end_info=SessionEndInfo(status=status, end_time_secs=instant(result)))
    described = metadata.create_summary_metadata(data)
    return Summary(
        value=[Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=described, tensor=metadata.NULL_TENSOR)]
    )


def _event(seconds: float, step: int, summary: Any) -> Event:  # noqa: ANN401 - TensorBoard's own protobuf, untyped
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(wall_time=seconds, step=step, summary=summary)
