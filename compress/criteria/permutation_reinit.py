"""Weight permutation by fresh weights: how far a channel's output is from an untrained one.

[S] Source 004, section 3.2.3: the filter's weights are drawn again as when the model was made.

    w'_i ~ U(−1/√n, 1/√n)        D_i = (1/bs) · Σ_pixels (Y_i − Y'_i)²     P_i, s_c as `permutation`

n  weights of a filter
[C] The distribution is PyTorch's default for convolutions and linear layers, whatever the model
used; one draw, by seed and layer. A dead filter scores the energy of a fresh one, not zero: with
trained weights much smaller than fresh ones this form measures the draw.
"""

import math

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
    return permutation.changes(calibration, seed, _fresh)


def _fresh(W: Tensor, randomness: torch.Generator) -> Tensor:
    uniform: Tensor = 2 * torch.rand(W.shape, generator=randomness, dtype=W.dtype) - 1
    return uniform.to(W.device) / math.sqrt(W.shape[1])
