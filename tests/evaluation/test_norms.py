"""Batch norms that go by the batch and remember nothing."""

from __future__ import annotations

import torch
from torch import nn

from spark_nas.evaluation.norms import batch_statistics, norms_of


def network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3, affine=False)))


def test_they_normalise_by_the_batch_in_evaluation_mode_too():
    net, x = network().eval(), torch.randn(4, 2, 5, 5) * 3 + 1
    with batch_statistics(norms_of(net)):
        y = net(x)
    torch.testing.assert_close(y.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(net.train()(x), y)


def test_the_running_statistics_stay_bitwise_as_they_were():
    for net in (network().train(), network().eval()):
        before = {name: value.clone() for name, value in net.state_dict().items()}
        with batch_statistics(norms_of(net)):
            net(torch.randn(4, 2, 5, 5))
        assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_modes_are_put_back_also_after_an_error():
    net = network().eval()
    try:
        with batch_statistics(norms_of(net)):
            raise RuntimeError
    except RuntimeError:
        pass
    assert not any(module.training for module in net.modules())
    assert [True, True] == [norm.track_running_stats for norm in norms_of(net)]


def test_norms_that_keep_no_statistics_are_left_alone():
    assert [] == norms_of(nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 3)))
