"""Networks that carry a state from batch to batch, as those of language models do.

Such a network has `reset()`, which begins anew, and an attribute `carried` (a tensor, or None at the beginning). A
method that looks at a batch before the weights learn from it must not move that state, and the validation text is a
stream of its own; the released DARTS and ENAS keep one hidden state for each, too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, cast

from torch import nn


def reset(network: nn.Module) -> None:
    """Begin anew, where there is a state to carry."""
    if callable(begin := getattr(network, "reset", None)):
        begin()


class CarriedStates:
    """The states of the streams that a method looks at aside from the training itself."""

    def __init__(self) -> None:
        self._begin: dict[str, Any] = {}
        """Split -> the state its current batch starts from; absent at the beginning of the stream."""
        self._end: dict[str, Any] = {}
        """Split -> the state its current batch has ended in."""

    @contextlib.contextmanager
    def aside(self, network: nn.Module, split: str) -> Iterator[None]:
        """Run a batch of a split from where its stream stands; the network's own state is as before afterwards.

        The training split's stream is the network's own.
        """
        if not hasattr(network, "carried"):
            yield
            return
        sequence = cast("Any", network)
        kept = sequence.carried
        if split != "train":
            sequence.carried = self._begin.get(split)
        try:
            yield
        finally:
            self._end[split] = sequence.carried
            sequence.carried = kept

    def advance(self, split: str) -> None:
        """The stream goes on with its next batch, from where the current one ended."""
        if split in self._end:
            self._begin[split] = self._end[split]
