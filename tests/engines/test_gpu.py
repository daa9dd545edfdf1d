"""What a GPU address means in a process."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from spark_nas.engines.gpu import Place, available_cores, cuda_name, place_of_task, see_own_gpu
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
