"""What a criterion needs to plan a small classifier: images, a loss, batches, a step."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compress import allocation, prune
from compress.statistics import Calibration
from compress.steps import Prune
from compress.task import Batch


def step(**changes: object) -> Prune:
    """Half of all channels by their L1 norm, but for what changes."""
    table = {"kind": "prune", "criterion": "l1", "ratio": 0.5, **changes}
    return Prune.model_validate(table)


def planned(net: nn.Module, asked: Prune, seed: int = 0) -> prune.Plan:
    """The plan for a network of tests/compress/graphs.py or the like."""
    x = images()
    head = [net.get_submodule("classifier")]
    calibration = Calibration(net, loss, batches())
    return allocation.make_plan(net, x, head, asked, seed, calibration)


def images(seed: int = 0) -> Tensor:
    """Noise [2, 3, 16, 16]."""
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def loss(net: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(net(batch[0]), batch[1])


def batches() -> list[Batch]:
    """Two, of four labels."""
    labels = torch.tensor([0, 1, 2, 3])
    return [(torch.cat((images(seed), images(seed + 9))), labels) for seed in (1, 2)]
