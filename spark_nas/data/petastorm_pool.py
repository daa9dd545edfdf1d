"""petastorm's thread pool and ventilator, mended: an epoch cannot end before it began, and nobody sleeps for work.

petastorm looks at its counters before it asks the ventilator for completion, and so can end an epoch before it began.
And its ventilator looks only every 10 ms whether a reader thread is free, while a row group is read in one or two.
The modules are given as arguments: `petastorm_compat` alone imports petastorm.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

_SOON = 0.005
"""Seconds after which it is asked again whether all work is handed out, when it was not yet."""


def ordered_thread_pool(module: Any) -> type:  # noqa: ANN401 - a module of an untyped library
    """`ThreadPool` whose end-of-work test cannot run ahead of the ventilator."""

    class OrderedThreadPool(module.ThreadPool):  # type: ignore[misc]
        def get_results(self) -> object:
            while True:
                # Completion first: once it is true no item can be added, so the counters read after it are final.
                completed = self._ventilator is None or self._ventilator.completed()
                idle = self._results_queue.empty() and self._ventilated_items == self._ventilated_items_processed
                if completed and idle:
                    raise module.EmptyResultError
                with suppress(module.queue.Empty):
                    patience = module._VERIFY_END_OF_VENTILATION_PERIOD if completed else _SOON
                    result = self._results_queue.get(timeout=patience)
                    if isinstance(result, module.VentilatedItemProcessedMessage):
                        self._ventilated_items_processed += 1
                        if self._ventilator is not None:
                            self._ventilator.processed_item()
                    elif isinstance(result, Exception):
                        self.stop()
                        self.join()
                        raise result
                    else:
                        return result

    return OrderedThreadPool


def prompt_ventilator(module: Any) -> type:  # noqa: ANN401
    """`ConcurrentVentilator` that hands out the next item as soon as there is room for it; the order is the same."""

    class PromptVentilator(module.ConcurrentVentilator):  # type: ignore[misc]
        _current_item_to_ventilate: int

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **options)
            self._room = threading.Condition()

        def processed_item(self) -> None:
            with self._room:
                self._processed_items_count += 1
                self._room.notify()

        def stop(self) -> None:
            with self._room:
                self._stop_requested = True
                self._room.notify_all()
            super().stop()

        def _ventilate(self) -> None:
            while not self.completed():
                if self._current_item_to_ventilate == 0 and self._randomize_item_order:
                    self._random_state.shuffle(self._items_to_ventilate)
                with self._room:
                    self._room.wait_for(self._may_go_on)
                if self._stop_requested:
                    break
                self._ventilate_fn(**self._items_to_ventilate[self._current_item_to_ventilate])
                self._ventilated_items_count += 1
                self._current_item_to_ventilate = (self._current_item_to_ventilate + 1) % len(self._items_to_ventilate)
                if self._current_item_to_ventilate == 0 and self._iterations_remaining is not None:
                    self._iterations_remaining -= 1

        def _may_go_on(self) -> bool:
            room = self._max_ventilation_queue_size + self._processed_items_count - self._ventilated_items_count
            return bool(self._stop_requested or room > 0)

    return PromptVentilator


class Tables:
    """Reads petastorm's queue of results as the Arrow tables that its workers put there.

    petastorm's own `ArrowReaderWorkerResultsQueueReader` makes a Python object of every row on the way to numpy, which
    takes ten times as long as reading the file.
    """

    batched_output = True

    def __init__(self, empty: type[Exception]) -> None:
        """`empty`: what a pool raises when all is read."""
        self._empty = empty

    def read_next(self, pool: Any, _schema: object, _ngram: object) -> object:  # noqa: ANN401
        """The next table; StopIteration at the end."""
        try:
            return pool.get_results()
        except self._empty:
            raise StopIteration from None
