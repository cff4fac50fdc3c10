"""Weight permutation, filter after filter: the source's own loop, the oracle of all faster forms.

[S] Source 004, algorithm 3-1: for each filter i, shuffle its weights, compute the layer's whole
output Y', compare it with Y, put the weights back.

    D_i = (1/bs) · Σ_channels Σ_pixels (Y − Y')²          P_i, s_c as for `permutation`

n passes over a layer of n filters: as slow as it reads. The draws are those of `permutation`, so
both give the same numbers.
"""

import torch
from torch import Tensor, nn

from compress.criteria import permutation
from compress.criteria.base import Group, Statistics
from compress.criteria.filters import energy, kernel, respond, rows, weight
from compress.statistics import Calibration


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return permutation.contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """D [out] of every layer, float64."""
    names = calibration.layers()

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        W = rows(layer, kernel(layer))
        shuffled = permutation.shuffled(W, permutation.generator(names[layer], seed, 0))
        Y = respond(layer, x, weight(layer, W))
        D = torch.zeros(len(W), dtype=torch.float64, device=x.device)
        for i in range(len(W)):
            changed = W.clone()
            changed[i] = shuffled[i]
            Y_changed = respond(layer, x, weight(layer, changed))
            D[i] = energy(layer, Y - Y_changed).sum()
        return D

    return calibration.forward(measure)
