"""What a GPU address means in a process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from spark_nas.engines.gpu import Place, available_cores, cuda_name, place_of_task, see_own_gpu
from spark_nas.engines.spark_distributed import with_environment_of_its_own
from spark_nas.errors import JobError


def torch_with(cuda: bool) -> object:
    return SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: cuda))


@pytest.mark.parametrize(
    ("address", "visible", "expected"),
    [
        ("0", None, "cuda:0"),
        ("3", None, "cuda:3"),
        ("1", "4,5", "cuda:1"),  # addresses are positions in the list
        ("3", "3", "cuda:0"),  # the platform has cut the list down already
        ("2", "", "cuda:2"),
    ],
)
def test_an_address_is_a_position_among_the_visible(address: str, visible: str | None, expected: str):
    assert cuda_name(address, {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}) == expected


def test_an_address_that_is_no_number_is_refused():
    with pytest.raises(JobError, match="GPU-8932"):
        cuda_name("GPU-8932", {})


@pytest.mark.parametrize(("cuda", "expected"), [(True, "cuda:1"), (False, "cpu")])
def test_a_gpu_that_torch_cannot_use_is_not_used(monkeypatch: pytest.MonkeyPatch, cuda: bool, expected: str):
    monkeypatch.setitem(sys.modules, "torch", torch_with(cuda))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert Place(1, gpu="1").device() == expected


@pytest.mark.parametrize("gpu", [None, "1"])
def test_a_required_gpu_that_is_not_usable_is_an_error(monkeypatch: pytest.MonkeyPatch, gpu: str | None):
    monkeypatch.setitem(sys.modules, "torch", torch_with(cuda=False))
    with pytest.raises(JobError, match="require_gpu"):
        Place(1, gpu, required=True).device()


def test_outside_a_task_there_is_the_cpu_with_all_cores():
    assert place_of_task() == Place(available_cores())


@pytest.mark.parametrize(
    ("granted", "before", "seen"),
    [(["1"], None, "1"), (["1"], "4, 5", "5"), (["5"], "5", "5"), (None, "4,5", "4,5"), (None, None, None)],
)
def test_what_a_barrier_task_starts_sees_the_gpu_of_the_task_alone(
    monkeypatch: pytest.MonkeyPatch, granted: list[str] | None, before: str | None, seen: str | None
):
    resources = {} if granted is None else {"gpu": SimpleNamespace(addresses=granted)}
    context = SimpleNamespace(resources=lambda: resources)
    monkeypatch.setattr("pyspark.BarrierTaskContext.get", lambda: context)
    environ = {} if before is None else {"CUDA_VISIBLE_DEVICES": before}
    monkeypatch.setattr("os.environ", environ)
    see_own_gpu()
    assert seen == environ.get("CUDA_VISIBLE_DEVICES")


@pytest.mark.parametrize("fails", [False, True])
def test_a_task_of_a_supernet_leaves_its_worker_the_environment_it_had(monkeypatch: pytest.MonkeyPatch, fails: bool):
    """Other jobs run in that worker afterwards, and would see one GPU only."""
    granted = SimpleNamespace(resources=lambda: {"gpu": SimpleNamespace(addresses=["1"])})
    monkeypatch.setattr("pyspark.BarrierTaskContext.get", lambda: granted)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    before = dict(os.environ)

    def task(rows: Iterator[str]) -> Iterator[str]:
        os.environ["RANK"] = "0"
        yield from rows
        yield os.environ["CUDA_VISIBLE_DEVICES"]
        if fails:
            raise JobError("x")

    seen = list[str]()
    try:
        seen += iter(with_environment_of_its_own(task)(iter(["row"])))
    except JobError:
        assert fails
    assert before == dict(os.environ)
    assert fails or ["row", "1"] == seen
