"""Weight permutation in expectation over all shuffles, in closed form.

[F] With R = (1/bs) Σ x xᵀ over all patches x, and over all orders π of a filter's n weights w,
E[wπ] = (s₁/n)·1 and E[wπ wπᵀ] = (s₂/n − c)·I + c·11ᵀ, hence

    E[D] = E[(w − wπ)ᵀ R (w − wπ)]
         = (s₂/n − c)·tr R + c·1ᵀR1 − 2(s₁/n)·wᵀR1 + wᵀRw
    P_c = E[D_c] / Σ_j E[D_j]          s_c = Σ over the layers that produce channel c of  P_c

s₁ = Σw   s₂ = Σw²   c = (s₁² − s₂) / (n(n−1))      0 for n = 1, where nothing can be shuffled
[F] R itself is never needed (4608² numbers for 3×3×512): the four terms are sums over positions of
what three convolutions give, y = w·x, u = 1·x and e = 1·x² (elementwise square), exact for every
kernel, stride, dilation, padding and group:

    tr R = Σe/bs     1ᵀR1 = Σu²/bs     wᵀR1 = Σuy/bs     wᵀRw = Σy²/bs

So the cost is that of about one pass, all positions are used, and memory is that of one batch.
It answers open problem 1 of source 004, the noise of one shuffle.
"""

import torch
from torch import Tensor, nn

from compress.criteria import permutation
from compress.criteria.base import Group, Statistics
from compress.criteria.filters import energy, kernel, maps, respond, rows, weight
from compress.statistics import Calibration


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return permutation.contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """E[D] [out] of every layer, float64."""
    return calibration.forward(expected)


def expected(layer: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """E[D] [out] of one layer, summed over the batch instead of averaged, float64.

    x: the layer's input. y, its output, is not used: it may hold a bias.
    """
    W = rows(layer, kernel(layer))
    n, groups = W.shape[1], getattr(layer, "groups", 1)
    ones = weight(layer, torch.ones_like(W[:groups]))  # one filter for each group
    y, u = respond(layer, x, kernel(layer)), respond(layer, x, ones)
    e = respond(layer, x**2, ones)

    wRw = energy(layer, y)
    by_group = maps(layer, y).reshape(
        len(x), groups, len(W) // groups, -1
    )  # [examples, groups, out / groups, m]
    wR1 = (by_group @ maps(layer, u)[..., None]).double().sum(0).flatten()
    oneR1 = energy(layer, u).repeat_interleave(len(W) // groups)
    trR = maps(layer, e).sum(2).double().sum(0).repeat_interleave(len(W) // groups)

    s1, s2 = W.sum(1, dtype=torch.float64), W.square().sum(1, dtype=torch.float64)
    c = (s1**2 - s2) / max(1, n * (n - 1))
    D = (s2 / n - c) * trR + c * oneR1 - 2 * (s1 / n) * wR1 + wRw
    return torch.clamp(D, min=0)  # rounding
