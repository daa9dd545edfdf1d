from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from spark_nas.search.records import JobKey, Result
from spark_nas.tracking.background import Background
from spark_nas.tracking.tensorboard import EventFiles
from tests.tracking.results import result


class Gated(EventFiles):
    """Event files that wait at a gate, as a slow disk would."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.reached, self.gate = threading.Event(), threading.Event()

    def write(self, results: Sequence[Result]) -> None:
        self.reached.set()
        self.gate.wait()
        super().write(results)


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("spark_nas")]


def test_what_does_not_fit_in_the_queue_is_counted_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    sink = Gated(tmp_path)
    with Background(sink, size=2) as tracker:
        tracker.on_asked([])
        tracker.on_result(result(0))
        sink.reached.wait()
        for trial in range(1, 6):
            tracker.on_result(result(trial))
        sink.gate.set()
        tracker.on_done()
    assert [True] * 3 + [False] * 3 == [sink.has(JobKey(trial, 0)) for trial in range(6)]
    assert [
        "TensorBoard: 3 results are not shown there; all are in the results table, and the same command adds them"
    ] == (messages(caplog))


def test_a_tool_that_does_not_answer_is_warned_of_once_and_not_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    sink, now = Gated(tmp_path), iter(range(0, 1000, 20))
    tracker = Background(sink, patience=0.0, clock=lambda: float(next(now)))
    for trial in (0, 1):
        tracker.on_result(result(trial))
    with tracker:
        sink.reached.wait()
        for trial in (2, 3):
            tracker.on_result(result(trial))
    sink.gate.set()
    tracker._thread.join()
    warned, ended = messages(caplog)
    assert warned.startswith("TensorBoard: no answer for 15 s")
    assert ended.startswith("TensorBoard: 4 results are not shown there")
    assert [True, False, False, False] == [sink.has(JobKey(trial, 0)) for trial in range(4)]


class Gone(EventFiles):
    """Event files on a disk that is gone: nothing can be asked of it any more."""

    def write(self, results: Sequence[Result]) -> None:
        raise OSError("input/output error")

    def has(self, key: JobKey) -> bool:
        raise OSError("input/output error")


def test_a_tool_that_dies_is_warned_of_and_a_search_that_is_done_is_done(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with Background(Gone(tmp_path)) as tracker:
        for trial in range(3):
            tracker.on_result(result(trial))
    assert [
        "TensorBoard: input/output error; the search goes on without waiting for it",
        "TensorBoard: 3 results are not shown there; all are in the results table, and the same command adds them",
    ] == messages(caplog)


def test_what_did_not_fit_and_is_there_from_an_earlier_time_is_not_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    with Background(EventFiles(tmp_path)) as tracker:
        tracker.on_result(result(2))
    sink = Gated(tmp_path)
    with Background(sink, size=1) as tracker:
        tracker.on_result(result(0))
        sink.reached.wait()
        for trial in range(1, 4):
            tracker.on_result(result(trial))
        sink.gate.set()
    assert [True, True, True, False] == [sink.has(JobKey(trial, 0)) for trial in range(4)]
    [message] = messages(caplog)
    assert message.startswith("TensorBoard: 1 results are not shown there")


def test_a_search_that_fails_ends_as_failed(tmp_path: Path):
    with pytest.raises(ValueError, match="boom"), Background(EventFiles(tmp_path)) as tracker:  # noqa: PT012
        tracker.on_result(result(0))
        raise ValueError("boom")
    assert ["events.out.tfevents.0000000000.rung"] == [path.name for path in (tmp_path / "trial-000000").iterdir()]


@pytest.fixture(autouse=True)
def _hear(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "spark_nas")
