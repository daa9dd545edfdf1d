"""The scheduled job of the Databricks bundle: its two tasks, run as Databricks runs them, with its retries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.platforms.databricks import ENTRY_POINT
from spark_nas.platforms.entry import main
from spark_nas.storage.lease import Lease
from spark_nas.storage.locations import open_files
from tests.platforms.schemas import Document
from tests.platforms.test_conf_files import bundle_job

EXPERIMENT = "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
VALUES = {
    "{{job.parameters.run_id}}": "nightly-2026-11-24",
    "{{job.run_id}}": "17",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "asha.yaml").write_text(EXPERIMENT)
    return tmp_path


def parameters(task: Document, folder: Path) -> list[str]:
    """What the task's entry point is given, with the volume in `folder`."""
    filled = []
    for text in task["python_wheel_task"]["parameters"]:
        for name, value in VALUES.items():
            text = text.replace(name, value)  # noqa: PLW2901
        filled.append(text.replace("/Volumes/main/nas", str(folder)))
    return filled


def run_job(folder: Path, before: Callable[[int], None] = lambda number: None) -> list[tuple[str, bool]]:
    """Task after task, each as often as it may be tried: (task, whether it ended well)."""
    done = []
    for task in bundle_job()["tasks"]:
        for number in range(1, task["max_retries"] + 2):
            before(number)
            try:
                main(parameters(task, folder))
                done.append((task["task_key"], True))
                break
            except SystemExit:
                done.append((task["task_key"], False))
        if not done[-1][1]:
            break
    return done


def test_a_night_that_ends_well_is_tried_once(folder: Path):
    assert [("search", True), ("verdict", True)] == run_job(folder)
    assert 6 == len(Run(str(folder / "runs" / "nightly-2026-11-24")).results())


def test_a_night_that_ended_before_its_end_is_tried_again_and_goes_on(folder: Path):
    lease = Lease(open_files(str(folder / "runs" / "nightly-2026-11-24")))
    begun: list[int] = []

    def before(number: int) -> None:
        if not begun:
            lease.__enter__()
        elif number == 2:
            lease.__exit__(None, None, None)
        begun.append(number)

    assert [("search", False), ("search", True), ("verdict", True)] == run_job(folder, before)


def test_bad_input_is_not_tried_again_and_the_night_has_failed(folder: Path):
    (folder / "experiments" / "asha.yaml").write_text("{space: mlpp}")
    assert [("search", True), ("verdict", False)] == run_job(folder)


def test_its_tasks_call_the_entry_point_that_raises():
    tasks = [task["python_wheel_task"] for task in bundle_job()["tasks"]]
    assert {("spark_nas", ENTRY_POINT)} == {(task["package_name"], task["entry_point"]) for task in tasks}
