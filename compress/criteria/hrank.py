"""Rank of feature maps.

M. Lin et al., "HRank: Filter Pruning using High-Rank Feature Map", CVPR 2020, equation 8: the mean
rank of a filter's feature maps hardly depends on the images, and low rank holds little.

    r_c = mean over examples of rank(O_c)
    s_c = mean over the norms (without any, the layers) of channel c of  r_c / mean_c' r_c'

O_c  the feature map of channel c of one example, a matrix [height, width]
The paper reads maps behind the ReLU. [C] A dependency group holds norms and layers but no
activations, so the positive part of a norm's output stands for them. Maps with one dimension, as of
sound, become one matrix [examples of a batch, positions]; vectors one column, of rank 0 or 1.
EXAMPLES of each batch are ranked: a rank is a singular value decomposition. The mean over tied
layers as for the L1 norm.
"""

import torch
from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.members import mean_share, norms, of, producers
from compress.statistics import FILTERS, Calibration

EXAMPLES = 8
MEASURED = (*FILTERS, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    found = statistics.found(gather)
    members = norms(group) or producers(group)
    return mean_share(group, members, lambda member: of(found, member))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """Mean rank [out] of every layer and norm."""

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        maps = y[:EXAMPLES].clamp_min(0)
        if isinstance(layer, nn.Linear):
            maps = maps.movedim(-1, 1)
        if maps.ndim < 4:  # [examples, channels, positions or none] → [1, channels, examples, …]
            maps = (
                maps.flatten(2).movedim(0, 1)[None] if maps.ndim == 3 else maps.T[None, ..., None]
            )
        maps = maps.flatten(3) if maps.ndim > 4 else maps
        maps = maps.to(torch.promote_types(maps.dtype, torch.float32))  # no ranks of 16 bits
        own, rounding = (torch.finfo(values.dtype).eps for values in (maps, y))
        rtol = max(max(maps.shape[-2:]) * own, rounding)  # torch's, and no rank of roundings
        ranks: Tensor = torch.linalg.matrix_rank(maps, rtol=rtol)
        return ranks.double().mean(0) * len(y)

    return calibration.forward(measure, MEASURED)
