"""Random channels: the control every criterion has to beat at the same cost."""

import zlib

import torch
from torch import Tensor

from compress.criteria.base import Group, Statistics


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels], the same for the same seed and layer."""
    name = group[0].dep.target.name.split(" ")[0]
    generator = torch.Generator().manual_seed(zlib.crc32(f"{statistics.seed} {name}".encode()))
    return torch.rand(len(group[0].idxs), generator=generator)
