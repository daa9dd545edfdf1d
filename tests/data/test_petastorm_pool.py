"""The mended ventilator: petastorm's order, never more in flight than allowed, and no waiting for a clock."""

from __future__ import annotations

import importlib
import queue
import threading
from types import ModuleType

import pytest

from spark_nas.data.petastorm_compat import install
from spark_nas.data.petastorm_pool import prompt_ventilator


@pytest.fixture
def ventilator() -> ModuleType:
    """petastorm's module, which can be imported once the layer is installed."""
    install()
    return importlib.import_module("petastorm.workers_pool.ventilator")


def items(count: int) -> list[dict[str, int]]:
    return [{"item": number} for number in range(count)]


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_the_order_is_petastorms(ventilator: ModuleType, shuffled: bool, iterations: int) -> None:
    given = []
    for cls in (ventilator.ConcurrentVentilator, prompt_ventilator(ventilator)):
        handed: queue.Queue[int] = queue.Queue()
        options = {"iterations": iterations, "randomize_item_order": shuffled, "random_seed": 5}
        machine = cls(
            lambda item, handed=handed: handed.put(item), items(20), max_ventilation_queue_size=100, **options
        )
        machine.start()
        given.append([handed.get(timeout=10) for _ in range(20 * iterations)])
        machine.stop()
        assert machine.completed()
    assert given[0] == given[1]


def test_no_more_are_in_flight_than_allowed_and_nobody_sleeps(
    ventilator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ventilator, "sleep")  # petastorm's own looks every 10 ms whether there is room
    handed: queue.Queue[int] = queue.Queue()
    machine = prompt_ventilator(ventilator)(handed.put, items(300), iterations=1, max_ventilation_queue_size=2)
    machine.start()
    for number in range(300):
        assert number == handed.get(timeout=10)
        assert handed.qsize() <= 1
        machine.processed_item()
    machine.stop()
    assert machine.completed()


def test_stopping_does_not_wait_for_room(ventilator: ModuleType) -> None:
    before = threading.active_count()
    machine = prompt_ventilator(ventilator)(lambda item: None, items(5), iterations=1, max_ventilation_queue_size=1)
    machine.start()
    machine.stop()
    assert machine.completed()
    assert before == threading.active_count()
