"""Networks of tests/compress/graphs.py fed with data: calibration, scores, gradients."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import prune
from compress.statistics import Calibration
from compress.task import Batch


def loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def batches() -> list[Batch]:
    randomness = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(6, 3, 16, 16, generator=randomness),
            torch.randint(4, (6,), generator=randomness),
        )
        for _ in range(3)
    ]


def calibration(net: nn.Module) -> Calibration:
    return Calibration(net, loss, batches())


def scored(net: nn.Module, criterion: str, seed: int = 0) -> list[prune.Scored]:
    head = [net.get_submodule("classifier")]
    example = torch.randn(1, 3, 16, 16)
    return prune.score_groups(net, example, head, criterion, seed, calibration(net))


def gradient(net: nn.Module, batch: Batch, layer: str) -> Tensor:
    net.zero_grad()
    loss(net, batch).backward()
    found = net.get_submodule(layer).weight.grad
    assert isinstance(found, Tensor)
    return found.clone()
