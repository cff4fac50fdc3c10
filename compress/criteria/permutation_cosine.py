"""Weight permutation, measured by direction: the cosine between an output and its shuffled self.

[S] Source 004 leaves open which measure of change is best and names the cosine. Y. He et al.
("Filter Pruning via Geometric Median", CVPR 2019, section 4.5) try it as a distance of filters.

    D_i = mean over SHUFFLES draws of 1 − Σ Y_i Y'_i / √(Σ Y_i² · Σ Y'_i²)      P_i, s_c as there

sums run over examples and positions; Y_i  output channel i without bias, Y'_i  after its filter's
weights were put in random order
[C] Blind to size: a filter of tiny weights turns as far as a large one. An output that is zero
has not changed.
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
        """Σ Y Y', Σ Y², Σ Y'² [draws, 3, out]."""
        found = []
        for Y, other in permutation_shuffles.pairs(layer, x, names[layer], seed):
            products = (Y * other, Y.square(), other.square())
            found.append(torch.stack([product.sum((0, 2)) for product in products]))
        return torch.stack(found)

    return {layer: distance(sums) for layer, sums in calibration.forward(measure).items()}


def distance(sums: Tensor) -> Tensor:
    """D [out] of the sums [draws, 3, out]."""
    product, one, other = sums.unbind(1)
    norm = (one * other).sqrt()
    return torch.where(norm > TINY, 1 - product / norm.clamp_min(TINY), 0.0).mean(0).clamp_min(0)
