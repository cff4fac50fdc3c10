"""Weight permutation by zeros: the energy of a channel's output without its bias.

[S] Source 004, section 3.2.3: the filter's weights are set to zero instead of being shuffled.

    D_i = (1/bs) · Σ_pixels (Y_i − b_i)² = w_iᵀ R w_i     P_i, s_c as for `permutation`

w_i  flat filter      R = (1/bs) Σ x xᵀ over all patches x      b_i  bias
[F] Exact, no draw involved.
"""

import torch
from torch import Tensor, nn

from compress.criteria import permutation
from compress.criteria.base import Group, Statistics
from compress.statistics import Calibration


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return permutation.contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """D [out] of every layer, float64."""
    return permutation.changes(calibration, seed, _zeroed)


def _zeroed(W: Tensor, randomness: torch.Generator) -> Tensor:
    return torch.zeros_like(W)
