"""Weight permutation, measured by structure: SSIM between a feature map and its shuffled self.

Z. Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE
Transactions on Image Processing 2004, equation 13; source 004 leaves the measure open. [S]

    D_i = mean over SHUFFLES draws and examples of 1 − SSIM(Y_i, Y'_i)         P_i, s_c as there

    SSIM = (2μμ' + c₁)(2σ_yy' + c₂) / ((μ² + μ'² + c₁)(σ² + σ'² + c₂))
    c₁ = (.01 L)²     c₂ = (.03 L)²     L = max Y_i − min Y_i of a batch

μ, σ  mean and deviation of one example's map Y_i, without bias; μ', σ' of the shuffled one
[C] One window over the whole map: maps of small networks are no larger than the paper's window,
and of one position nothing but the means is left. A map that is zero throughout has not changed.
"""

import torch
from torch import Tensor, nn

from compress.criteria import permutation, permutation_shuffles
from compress.criteria.base import Group, Statistics
from compress.criteria.members import TINY
from compress.statistics import Calibration


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return permutation.contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """D [out] of every layer, float64."""
    names = calibration.layers()

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        draws = permutation_shuffles.pairs(layer, x, names[layer], seed)
        return torch.stack([(1 - similarity(Y, other)).sum(0) for Y, other in draws]).mean(0)

    return calibration.forward(measure)


def similarity(Y: Tensor, other: Tensor) -> Tensor:
    """SSIM [examples, channels] of maps [examples, channels, positions]."""
    span = Y.amax((0, 2)) - Y.amin((0, 2))
    c1, c2 = (0.01 * span).square() + TINY, (0.03 * span).square() + TINY
    mean, mean_other = Y.mean(2), other.mean(2)
    spread, spread_other = Y.var(2, correction=0), other.var(2, correction=0)
    common = (Y * other).mean(2) - mean * mean_other
    light = (2 * mean * mean_other + c1) / (mean.square() + mean_other.square() + c1)
    structure = (2 * common + c2) / (spread + spread_other + c2)
    return light * structure
