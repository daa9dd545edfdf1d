"""What the `fit` loop asks of a method, and the method that decides nothing: ordinary training.

The loop knows no method by name. Before each step on the weights it lets the method learn (`step`), then runs
the network through the method's `gates` (Li & Talwalkar 2019, section 3; Liu et al. 2019, algorithm 1):

    method.step(learner, train_batch, valid)
    loss = learner.loss(train_batch, method.gates())
    ... a step on the weights that this loss depends on ...

A method is one file: a frozen dataclass of options with `build(space)`, and a `Method`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn, optim

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture, SearchSpace

Gates = Mapping[str, Mapping[str, Any]]
"""choice -> option -> weight (a float, a scalar tensor, or a `Probe`). Absent options are not run."""


class Batch(NamedTuple):
    """Inputs and what they should give, on the network's device."""

    x: Tensor
    """Normalised inputs [B, *input_shape], or tokens [T, B]."""
    y: Tensor
    """Labels [B], or the next tokens [T * B]."""
    split: str = "train"
    """Where it is from: the network of a sequence carries one state a split."""


Valid = Callable[[], Batch]
"""The next validation batch, without end. A method that never calls it costs no validation data."""


class Learner(Protocol):
    """The training under way, as a method may use it. The loop's weight step comes after the method's."""

    @property
    def network(self) -> nn.Module:
        """The supernet."""
        ...

    @property
    def optimiser(self) -> optim.Optimizer:
        """Of the weights: second-order methods read its learning rate, momentum and decay."""
        ...

    @property
    def clip_norm(self) -> float:
        """Largest norm of a weight gradient; 0 clips none."""
        ...

    @property
    def epochs(self) -> float:
        """Epochs trained so far; fractions count."""
        ...

    @property
    def horizon(self) -> int:
        """Epochs of the full budget."""
        ...

    def loss(self, batch: Batch, gates: Gates | None) -> Tensor:
        """The training loss of a batch, a scalar with a graph.

        Leaves the running statistics of batch norms, and the state carried over sequences, as they were.
        """
        ...

    def logits(self, batch: Batch, gates: Gates | None) -> Tensor:
        """What the network answers, [len(y), classes]; the same promise."""
        ...


class Method(nn.Module):
    """How the open choices of a network are run and learnt: what a method does not say otherwise, does nothing.

    Laws (tests/contracts/test_methods.py holds them for every method): `gates` names known options only; `step` and
    `finish_epoch` leave weights, batch-norm statistics and the optimiser as they found them; everything random is
    drawn from torch's generator, which the loop seeds at each epoch; `state_dict` holds all that must survive a
    resume; what is derived is complete and in the space.
    """

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """Learn the architecture, before the step on the weights that takes `train`."""

    def finish_epoch(self, learner: Learner, valid: Valid) -> None:
        """Learn the architecture between epochs, after the last step on the weights (ENAS's controller)."""

    def gates(self) -> Gates | None:
        """The options to run in the next step on the weights; None runs the decisions as they are built."""
        return None

    def evaluation_gates(self) -> Gates | None:
        """The options to run on one batch while a split is measured; by default those of a step."""
        return self.gates()

    def derive(self) -> tuple[Architecture, ...]:
        """The complete architectures it proposes, best first; empty where it has no opinion."""
        return ()

    def diagnostics(self) -> Mapping[str, float]:
        """Numbers about the architecture that go into the curve after each epoch, by name."""
        return {}


class MethodOptions(Protocol):
    """The options dataclass of a method: what the section `method` of an experiment file gives."""

    def build(self, space: SearchSpace) -> Method:
        """A fresh method for the supernet of a space. Raises OptionError for a space that it cannot search."""
        ...


class Fixed(Method):
    """Ordinary training: the gates never change and nothing is derived."""

    def __init__(self, gates: Gates | None = None) -> None:
        super().__init__()
        self._gates = gates

    def gates(self) -> Gates | None:
        """Those it was made with."""
        return self._gates


def path(decisions: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """The gates that run one architecture in the supernet: one option a choice, with weight 1."""
    return {choice: {option: 1.0} for choice, option in decisions.items()}


def require_choices(space: SearchSpace) -> None:
    """Raise OptionError for a space that decides nothing."""
    if not space.choices:
        raise OptionError("space", space.name, "has no choices to search by shared weights: use one that has")


def draw_seed() -> int:
    """A seed from torch's generator, for what draws with another one."""
    return int(torch.randint(2**62, ()).item())
