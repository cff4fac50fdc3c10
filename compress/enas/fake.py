"""Fake pruning: channels of feature maps set to zero while the tensor keeps its shape.

    s_c = Σ over examples and positions of |x_c|
    the round(ratio · C) channels with the smallest s are zero, at least one stays            [S]

Shapes do not change, so edges pruned differently still add and concatenate, and one minibatch
tells what a ratio would cost without any training. Ranking happens in the pruned pass itself,
on what the channels before have left. The same on a calibration set as one batch gives the
channels that are removed for good.
"""

import torch
from torch import Tensor

from models.enas import Place
from models.enas.layout import Kept


def kept(sums: Tensor, ratio: float) -> tuple[int, ...]:
    """The channels that stay, ascending, of sums of absolute values [channels]."""
    count = max(1, len(sums) - round(ratio * len(sums)))
    return tuple(sorted(sums.argsort(descending=True, stable=True)[:count].tolist()))


def masked(x: Tensor, channels: tuple[int, ...]) -> Tensor:
    """A map [batch, channels, …] with all other channels zero."""
    mask = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device)
    mask[list(channels)] = 1
    return x * mask.view(1, -1, *(1,) * (x.ndim - 2))


class FakePruning:
    """A `Fake` (models/enas/cell.py) that ranks every map it meets and remembers what stayed."""

    def __init__(self) -> None:
        self.kept: dict[Place, tuple[int, ...]] = {}

    def __call__(self, place: Place, ratio: float, x: Tensor) -> Tensor:
        if ratio == 0:
            self.kept[place] = tuple(range(x.shape[1]))
            return x
        sums = x.abs().sum((0, 2, 3), dtype=torch.float32)
        self.kept[place] = kept(sums, ratio)
        return masked(x, self.kept[place])


class Mask:
    """A `Fake` with channels chosen before."""

    def __init__(self, channels: Kept) -> None:
        self.channels = channels

    def __call__(self, place: Place, ratio: float, x: Tensor) -> Tensor:
        return masked(x, self.channels[place])
