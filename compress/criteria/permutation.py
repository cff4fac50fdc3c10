"""Weight permutation, all filters at once: how much an output changes when its filter is shuffled.

[S] Source 004, equations 3-6 to 3-8 and 4-2: with Y' the output after the weights of filter i are
put in random order (Fisher–Yates), inputs being training samples through the original network,

    D_i = (1/bs) · Σ_pixels (Y_i − Y'_i)²          P_i = D_i / Σ_j D_j
    s_c = Σ over the layers that produce channel c of  P_c

Y_i  the layer's output channel i      bs  examples      P_i  contribution of channel i to its layer
[F] y_i depends on filter i alone, so shuffling ALL filters at once gives every D_i of the n-pass
loop (permutation-literal) from one pass. Y − Y' is the layer's answer to W − W'.
[S] Layers tied by a residual share one score, the sum of P over them.
[C] One draw for all batches, by seed and layer. One draw is noisy (benchmarks/permutation.md):
permutation-expected is the mean over all draws at about the cost of one.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

from compress.criteria.base import Group, Statistics
from compress.criteria.filters import energy, kernel, respond, rows, weight
from compress.criteria.members import of, producers, sum_of_shares
from compress.statistics import Calibration, Found

# filters [out, n], source of random numbers → what takes their place
Replace = Callable[[Tensor, torch.Generator], Tensor]


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """D [out] of every layer, float64."""
    return changes(calibration, seed, shuffled)


def contributions(group: Group, found: Found) -> Tensor:
    """P, added up over the group's layers [channels]."""
    return sum_of_shares(group, producers(group), lambda member: of(found, member))


def changes(
    calibration: Calibration, seed: int, replace: Replace, draws: int = 1
) -> dict[nn.Module, Tensor]:
    """Mean over draws of D [out] of every layer, all filters replaced at once."""
    names = calibration.layers()

    def measure(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
        W = rows(layer, kernel(layer))
        D = torch.zeros(len(W), dtype=torch.float64, device=x.device)
        for draw in range(draws):
            replaced = replace(W, generator(names[layer], seed, draw))
            D += energy(layer, respond(layer, x, weight(layer, W - replaced)))
        return D / draws

    return calibration.forward(measure)


def shuffled(W: Tensor, randomness: torch.Generator) -> Tensor:
    """Each filter's weights in random order, every order equally likely."""
    keys = torch.rand(W.shape, generator=randomness, dtype=torch.float64)
    return W.gather(1, keys.argsort(1).to(W.device))


def generator(name: str, seed: int, draw: int) -> torch.Generator:
    """The same random numbers for the same layer, seed and draw."""
    return torch.Generator().manual_seed(zlib.crc32(f"{seed} {name} {draw}".encode()))
