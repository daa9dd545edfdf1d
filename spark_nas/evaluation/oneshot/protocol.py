"""What the `fit` loop asks of a method, and the method that decides nothing: ordinary training.

The loop knows no method by name. Before each step on the weights it lets the method learn (`step`), then runs
the network through the method's `gates` (Li & Talwalkar 2019, section 3; Liu et al. 2019, algorithm 1):

    method.step(network, train_batch, valid_batch)
    loss = criterion(network(x, method.gates()), y)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor, nn

from spark_nas.search.records import Architecture

Gates = Mapping[str, Mapping[str, Any]]
"""choice -> option -> weight (a float or a scalar tensor). Absent options are not run."""

Batch = tuple[Tensor, Tensor]
"""Normalised inputs [B, *input_shape] and labels [B], on the network's device."""


class OneShotMethod(Protocol):
    """How the open choices of a network are run and learnt.

    Laws: `gates` names known options only; `step` leaves the weights as it found them; everything random is
    drawn from torch's generator, which the loop seeds at each epoch; `state_dict` holds all that must survive
    a resume (an `nn.Module` has both state methods already).
    """

    def gates(self) -> Gates | None:
        """The options to run in the next step on the weights; None runs the decisions as they are built."""
        ...

    def step(self, network: nn.Module, train: Batch, valid: Batch | None) -> None:
        """Learn the architecture from a batch of each split (`valid` is None unless `needs_valid`)."""
        ...

    def derive(self) -> tuple[Architecture, ...]:
        """The complete architectures it proposes, best first; empty where there was nothing to decide."""
        ...

    @property
    def needs_valid(self) -> bool:
        """Whether `step` learns from validation batches."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings; goes into the checkpoint."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> object:
        """The inverse of `state_dict`."""
        ...


class Fixed:
    """Ordinary training: the gates never change and nothing is derived."""

    needs_valid = False

    def __init__(self, gates: Gates | None = None) -> None:
        self._gates = gates

    def gates(self) -> Gates | None:
        """Those it was made with."""
        return self._gates

    def step(self, network: nn.Module, train: Batch, valid: Batch | None) -> None:
        """Nothing to learn."""

    def derive(self) -> tuple[Architecture, ...]:
        """Nothing was open."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> object:
        """Nothing to restore."""
        return None
