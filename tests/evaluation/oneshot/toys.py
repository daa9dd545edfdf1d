"""Objectives small enough to be differentiated by hand, as the learners that a method sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn, optim

from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from tests.strategies import plain_space

Objective = Callable[[Batch, Gates], Tensor]
TRAIN = Batch(torch.zeros(1), torch.zeros(1), "train")
VALID = Batch(torch.zeros(1), torch.zeros(1), "valid")


@dataclass
class ToyLearner:
    """A learner whose loss is any function of the batch and the gates."""

    objective: Objective
    network: nn.Module
    optimiser: optim.Optimizer
    clip_norm: float = 0.0
    epochs: float = 0.0
    horizon: int = 10
    asked: list[str] = field(default_factory=list)
    """The splits of the batches whose loss was asked for."""

    def loss(self, batch: Batch, gates: Gates | None) -> Tensor:
        assert gates is not None
        self.asked.append(batch.split)
        return self.objective(batch, gates)

    def logits(self, batch: Batch, gates: Gates | None) -> Tensor:
        raise AssertionError("no method here looks at logits")


def learner(objective: Objective, *weights: Tensor, **sgd: float) -> ToyLearner:
    """With SGD over these weights."""
    network = nn.ParameterList(weights or [torch.zeros(1)])
    return ToyLearner(objective, network, optim.SGD(network.parameters(), **{"lr": 0.1, **sgd}))


def linear(costs: Mapping[str, Sequence[float]]) -> Objective:
    """The sum of cost times gate over what the gates name: dL/dgate is the cost."""
    tables = {name: {f"o{index}": cost for index, cost in enumerate(row)} for name, row in costs.items()}

    def objective(batch: Batch, gates: Gates) -> Tensor:
        terms = [tables[name][option] * gate for name, row in gates.items() for option, gate in row.items()]
        return torch.stack(terms).sum()

    return objective


__all__ = ["TRAIN", "VALID", "ToyLearner", "learner", "linear", "plain_space"]
