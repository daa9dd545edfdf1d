"""benchmarks/supernet_step.py: the reference computes what our supernet computes, and memory is counted right."""

from __future__ import annotations

import pytest
import torch

from benchmarks.supernet_contestants import CONTESTANTS, Setting
from benchmarks.supernet_published import PublishedSearch
from benchmarks.supernet_step import Kept, memory
from spark_nas.evaluation.networks.build import build
from spark_nas.spaces.core import SUPERNET
from spark_nas.spaces.darts import CELLS, OPERATIONS, Darts

SMALL = Setting(channels=4, layers=3, batch=2, side=8, threads=1)


@pytest.mark.parametrize("training", [True, False])
def test_the_reference_computes_what_our_supernet_computes(training: bool):
    torch.manual_seed(1)
    published = PublishedSearch(4, 3, 5).double().train(training)
    options = Darts(layers=3, channels=4)
    ours = build(options, SUPERNET, {}, (3, 8, 8), 5, affine=False).double().train(training)
    theirs = [p for name, p in published.named_parameters() if not name.startswith("alpha")]
    with torch.no_grad():
        for mine, other in zip(ours.parameters(), theirs, strict=True):
            mine.copy_(other)
        for alpha in published.alpha:
            alpha.normal_()
    gates = {}
    for cell, alpha in zip(CELLS, published.alpha, strict=True):
        names = [choice.name for choice in options.build().choices if choice.name.startswith(cell)]
        gates |= {
            n: dict(zip(OPERATIONS, row.unbind(), strict=True)) for n, row in zip(names, alpha.softmax(-1), strict=True)
        }
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(2)).double()
    expected, actual = published(x), ours(x, gates)
    assert torch.allclose(expected, actual, rtol=1e-8, atol=1e-8)
    slopes = [
        torch.autograd.grad(y.square().sum(), list(published.alpha), retain_graph=True) for y in (expected, actual)
    ]
    assert all(torch.allclose(a, b, rtol=1e-6, atol=1e-8) for a, b in zip(*slopes, strict=True))


def test_kept_counts_a_storage_once_while_a_graph_holds_it_and_weights_never():
    layer = torch.nn.Linear(8, 8, bias=False)
    x = torch.randn(4, 8)
    with Kept(layer) as kept:
        y = layer(x)  # keeps x and the weight
        z = y.sigmoid()  # keeps its output
        assert 2 * 4 * 8 * 4 == kept.most
        (z * z).sum().backward()  # keeps z again
        assert 2 * 4 * 8 * 4 == kept.most
        layer(x).sum()
    assert 2 * 4 * 8 * 4 == kept.most


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "RSWS",
        *(pytest.param(x, marks=pytest.mark.exhaustive) for x in ("ENAS, weights", "ProxylessNAS, weights", "GDAS")),
    ],
)
def test_a_path_keeps_what_one_path_keeps(name: str):
    def most(of: str) -> float:
        return max(memory(SMALL, of)["kept"] for _ in range(2))

    assert most(name) < 0.4 * most("DARTS, first order, not fused")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name if name == "RSWS" else pytest.param(name, marks=pytest.mark.exhaustive) for name in CONTESTANTS]
)
def test_every_contestant_takes_a_step_that_moves_weights(name: str):
    contestant = CONTESTANTS[name](SMALL)
    step = contestant.ready(1)
    before = [parameter.detach().clone() for parameter in contestant.network.parameters()]
    step()
    after = list(contestant.network.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
