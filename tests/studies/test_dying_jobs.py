"""A training process is killed with SIGKILL, anywhere; another one ends where nobody had been killed, bit for bit."""

from __future__ import annotations

import io
import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from spark_nas.evaluation.checkpoint import MAGIC
from spark_nas.search.records import JobKey
from spark_nas.storage.files import Files
from spark_nas.storage.jobs import CommittedJobs
from spark_nas.storage.locations import open_files
from tests.studies.dying import outcome

pytestmark = pytest.mark.timeout(600)

REPOSITORY = Path(__file__).resolve().parents[2]

DEATHS = {
    **{("batch", n): left for n, left in ((0, 3), (3, 3), (4, 2), (6, 2), (9, 1), (11, 1))},
    **{("change", n): left for n, left in enumerate((3, 2, 2, 1, 1, 1, 1, 0, 0, 0))},
}
"""Where the job dies, and how many of its three epochs are then left for the next attempt.

Each epoch has three batches of training and one of validation. The changes are two recovery checkpoints, the
checkpoint, the commit, and the removal of the recovery checkpoint: even numbers die before one, odd ones after it.
"""


def report(jobs: list[tuple[Files, dict[str, Any]]], folder: Path) -> list[tuple[dict[str, Any], ...]]:
    """What came of each: the rung below, the attempt that dies, and the one after it."""
    (folder / "in").write_bytes(pickle.dumps(jobs))
    command = [sys.executable, "-c", "from tests.studies.dying import main; main()", folder / "in", folder / "out"]
    # in a session of its own: whatever happens, the children that it forks end with it
    program = subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, start_new_session=True)
    with program:
        try:
            _, said = program.communicate(timeout=250)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, said[-3000:]
    answer: list[tuple[dict[str, Any], ...]] = pickle.loads((folder / "out").read_bytes())
    return answer


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "chosen"),
    [
        ("local", list(DEATHS)),
        ("s3", list(DEATHS)[2::6]),
        pytest.param("s3", list(DEATHS)[2::3], marks=pytest.mark.exhaustive),
    ],
)
def test_a_job_killed_anywhere_ends_bitwise_where_an_undisturbed_one_ends(
    where: str, chosen: list[tuple[str, int]], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    deaths: list[dict[str, int]] = [{}, *({what: number} for what, number in chosen)]
    root = request.getfixturevalue("s3").prefix() if where == "s3" else str(tmp_path)
    stores = [open_files(f"{root}/{number}") for number in range(len(deaths))]
    (_, undisturbed, found), *reports = report(list(zip(stores, deaths, strict=True)), tmp_path)
    assert (undisturbed["status"], undisturbed["epochs"], found["epochs"]) == (0, 3, 0)
    assert {died["status"] for _, died, _ in reports} == {signal.SIGKILL}
    assert [lived["epochs"] for _, _, lived in reports] == [DEATHS[death] for death in chosen]
    key = JobKey(7, 1)
    checkpoint = CommittedJobs(stores[0]).checkpoint(key)
    for files, death, (_, _, lived) in zip(stores[1:], chosen, reports, strict=True):
        assert outcome(lived) == outcome(undisturbed), death
        assert CommittedJobs(files).checkpoint(key) == checkpoint, death
        assert CommittedJobs(files).kept(key) is None or death[1] in (7, 8), death  # that one is left to a sweep


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        "darts",
        *(
            pytest.param(method, marks=pytest.mark.exhaustive)
            for method in ("random_sharing", "enas", "gaea", "gdas", "snas", "proxyless", "one_shot")
        ),
    ],
)
def test_a_supernet_killed_anywhere_ends_bitwise_where_an_undisturbed_one_ends(method: str, tmp_path: Path) -> None:
    """Weights, architecture parameters, their optimisers and what is derived: all that the checkpoint must hold."""
    chosen: list[dict[str, Any]] = [{}, {"batch": 5}, {"change": 3}, {"change": 4}]
    stores = [open_files(f"{tmp_path}/{number}") for number in range(len(chosen))]
    jobs = [(files, {**death, "supernet": method}) for files, death in zip(stores, chosen, strict=True)]
    (_, undisturbed, _), *reports = report(jobs, tmp_path)
    assert undisturbed["status"] == 0
    assert {died["status"] for _, died, _ in reports} == {signal.SIGKILL}
    checkpoint = flat(content(CommittedJobs(stores[0]).checkpoint(JobKey(7, 1))))
    assert len(checkpoint) > 100
    for files, death, (_, _, lived) in zip(stores[1:], chosen[1:], reports, strict=True):
        assert outcome(lived) == outcome(undisturbed), death
        assert flat(content(CommittedJobs(files).checkpoint(JobKey(7, 1)))) == checkpoint, death


def content(checkpoint: bytes) -> Any:  # noqa: ANN401 - a state dict
    """What is in it: its bytes depend on the order in which an optimiser first met its weights, too."""
    return torch.load(io.BytesIO(checkpoint[len(MAGIC) + 32 :]), weights_only=True)


def flat(state: Any, name: str = "") -> dict[str, object]:  # noqa: ANN401 - any part of it
    """Every number, text and tensor by its place; tensors as their bytes."""
    if isinstance(state, dict):
        return {k: v for key, value in state.items() for k, v in flat(value, f"{name}/{key}").items()}
    if isinstance(state, list | tuple):
        return {k: v for i, value in enumerate(state) for k, v in flat(value, f"{name}/{i}").items()}
    return {name: state.numpy().tobytes() if isinstance(state, torch.Tensor) else state}
