"""Batch norms after a cut: the mean statistics of the batches, whatever their sizes."""

import torch
from torch import Tensor, nn

from compress.recalibration import recalibrate


def _batches() -> list[tuple[Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 3, 5, 5, generator=generator) + shift,) for shift in range(3)]


def test_recalibrated_norms_hold_the_mean_over_the_batches() -> None:
    net = nn.Sequential(nn.BatchNorm2d(3))
    batches = _batches()
    net(torch.full((2, 3, 5, 5), 9.0))  # what a norm held before does not count
    recalibrate(net, lambda n, b: n(b[0]), batches)
    every = torch.cat([batch[0] for batch in batches])
    assert torch.allclose(net[0].running_mean, every.mean((0, 2, 3)), atol=1e-6)
    assert net[0].momentum == 0.1
    assert not net[0].training


def test_a_batch_of_one_counts_where_norms_can_do_with_it() -> None:
    net, batches = nn.Sequential(nn.BatchNorm2d(3)), _batches()
    single = (batches[1][0][:1],)
    recalibrate(net, lambda n, b: n(b[0]), [batches[0], single])
    means = [images.mean((0, 2, 3)) for (images,) in (batches[0], single)]
    assert torch.allclose(net[0].running_mean, (means[0] + means[1]) / 2, atol=1e-6)
