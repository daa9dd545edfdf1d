"""Batch norms that see a batch in groups."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from spark_nas.errors import OptionError
from spark_nas.evaluation.loop import loss_of
from spark_nas.evaluation.oneshot.protocol import Batch
from spark_nas.evaluation.training import Training
from spark_nas.spaces.nas_bench_201 import NasBench201


class Normed(nn.Module):
    """A norm and a classifier; with an auxiliary head where it is asked for."""

    def __init__(self, *, auxiliary: bool = False) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm1d(4), nn.Linear(4, 3)
        self.auxiliary = auxiliary
        self.groups: list[int] = []

    def forward(self, x_BC: Tensor, gates: object = None) -> Tensor | tuple[Tensor, Tensor]:
        self.groups.append(len(x_BC))
        logits: Tensor = self.head(self.norm(x_BC))
        return (logits, 2 * logits) if self.auxiliary else logits


def batch(size: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    x_BC = torch.randn(size, 4, generator=generator) * torch.arange(1, size + 1)[:, None]
    return Batch(x_BC, torch.arange(size) % 3)


@pytest.mark.parametrize(("size", "groups"), [(8, [4, 4]), (11, [6, 5]), (7, [7]), (4, [4])])
def test_groups_are_even_and_of_at_least_so_many(size: int, groups: list[int]) -> None:
    network = Normed()
    loss_of(network, batch(size), None, Training(ghost_batch=4))
    assert groups == network.groups


def test_each_group_is_normalised_by_itself() -> None:
    network, whole = Normed(), batch(8)
    with torch.no_grad():
        halves = [network.head(nn.functional.batch_norm(x, None, None, training=True)) for x in whole.x.split(4)]
    loss, logits = loss_of(network, whole, None, Training(ghost_batch=4))
    assert torch.allclose(torch.cat(halves), logits, atol=1e-6)
    assert torch.allclose(cross_entropy(torch.cat(halves), whole.y), loss)
    assert not torch.allclose(logits, loss_of(network, whole, None, Training())[1], atol=1e-3)


def test_an_auxiliary_head_is_seen_in_groups_too() -> None:
    torch.manual_seed(1)
    network, options = Normed(auxiliary=True), Training(ghost_batch=4, auxiliary_weight=0.5)
    loss, logits = loss_of(network, batch(8), None, options)
    y = batch(8).y
    assert torch.allclose(cross_entropy(logits, y) + 0.5 * cross_entropy(2 * logits, y), loss)


def test_a_group_of_one_and_texts_are_refused() -> None:
    with pytest.raises(OptionError, match="0, or at least 2"):
        Training(ghost_batch=1)
    text: Any = SimpleNamespace(input_shape=(), rows=lambda _split: 5)
    with pytest.raises(OptionError, match="a text's windows are not cut into groups"):
        Training(ghost_batch=4).build(NasBench201().build(), text, 1)
