"""Distance of a filter to the others: what lies near the geometric median is replaceable.

Y. He et al., "Filter Pruning via Geometric Median for Deep Convolutional Neural Networks
Acceleration", CVPR 2019 (FPGM), equation 6.

    d_c = Σ_c' ‖W[c] − W[c']‖₂
    s_c = mean over the layers that produce channel c of  d_c / mean_c' d_c'

W[c]  the flat weights of filter c; c' runs over all filters of the same layer
Not the size of a filter counts: a dead filter far from all others stays.
[C] Dividing by the layer's mean, and the mean over tied layers, as for the L1 norm.
"""

import torch
from torch import Tensor

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, rows
from compress.criteria.members import Member, mean_share, producers


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return mean_share(group, producers(group), _distances)


def _distances(member: Member) -> Tensor:
    W = rows(member.layer, kernel(member.layer))
    W = W.to(torch.promote_types(W.dtype, torch.float32))  # the CPU has no distances of 16 bits
    # exact differences: the expanded square loses small distances to rounding
    d = torch.cdist(W, W, compute_mode="donot_use_mm_for_euclid_dist").sum(1)
    return d[member.channels]
