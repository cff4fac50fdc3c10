"""Weight permutation, mean of several shuffles of all filters at once.

    D_i = mean over SHUFFLES draws of (1/bs) · Σ_pixels (Y_i − Y'_i)²     P_i, s_c as `permutation`

[F] One draw is noisy, in layers with short filters above all; the mean of 8 ranks much closer to
the expectation (benchmarks/permutation.md). [C] SHUFFLES = 8.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from compress.criteria import permutation
from compress.criteria.base import Group, Statistics
from compress.criteria.filters import kernel, maps, respond, rows, weight
from compress.statistics import Calibration

SHUFFLES = 8


def score(group: Group, statistics: Statistics) -> Tensor:
    """Scores [channels] of a group's root channels."""
    return permutation.contributions(group, statistics.found(gather))


def gather(calibration: Calibration, seed: int) -> dict[nn.Module, Tensor]:
    """D [out] of every layer, float64."""
    return permutation.changes(calibration, seed, permutation.shuffled, SHUFFLES)


def pairs(layer: nn.Module, x: Tensor, name: str, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Y and Y' [examples, out, positions] of every draw, without bias, float64: for measures of
    change that do not follow from Y − Y' alone."""
    W = rows(layer, kernel(layer))
    Y = maps(layer, respond(layer, x, weight(layer, W))).double()
    for draw in range(SHUFFLES):
        changed = permutation.shuffled(W, permutation.generator(name, seed, draw))
        yield Y, maps(layer, respond(layer, x, weight(layer, changed))).double()
