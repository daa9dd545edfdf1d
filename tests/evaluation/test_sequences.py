"""States carried from batch to batch: nobody who only looks at a batch moves them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spark_nas.evaluation.sequences import CarriedStates, reset


class Counter(nn.Module):
    """Carries the sum of all it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.carried: Tensor | None = None

    def reset(self) -> None:
        self.carried = None

    def forward(self, x: Tensor) -> Tensor:
        self.carried = x + (0 if self.carried is None else self.carried)
        return self.carried


def look(states: CarriedStates, network: nn.Module, split: str, value: float) -> float:
    with states.aside(network, split):
        return float(network(torch.tensor(value)))


def test_a_reset_begins_anew_and_other_networks_have_none():
    network = Counter()
    network(torch.tensor(3.0))
    reset(network)
    assert 1.0 == float(network(torch.tensor(1.0)))
    reset(nn.Linear(1, 1))


def test_looking_aside_at_a_training_batch_starts_from_the_networks_own_state_and_leaves_it():
    network, states = Counter(), CarriedStates()
    network(torch.tensor(3.0))
    assert 5.0 == look(states, network, "train", 2.0)
    assert 5.0 == look(states, network, "train", 2.0)
    assert 4.0 == float(network(torch.tensor(1.0)))


def test_the_validation_stream_has_a_state_of_its_own_that_moves_on_with_its_batches():
    network, states = Counter(), CarriedStates()
    network(torch.tensor(100.0))
    states.advance("valid")  # the first batch: there is nothing behind it
    assert [1.0, 1.0] == [look(states, network, "valid", 1.0) for _ in range(2)]
    states.advance("valid")
    assert [3.0, 3.0] == [look(states, network, "valid", 2.0) for _ in range(2)]
    assert 101.0 == float(network(torch.tensor(1.0)))


def test_the_state_is_put_back_after_an_error():
    network, states = Counter(), CarriedStates()
    network(torch.tensor(1.0))
    try:
        with states.aside(network, "valid"):
            raise RuntimeError
    except RuntimeError:
        pass
    assert 1.0 == float(network.carried)


def test_networks_without_a_state_are_left_alone():
    network = nn.Linear(1, 1)
    with CarriedStates().aside(network, "valid"):
        network(torch.zeros(1, 1))
    assert not hasattr(network, "carried")
