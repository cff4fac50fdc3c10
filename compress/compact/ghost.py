"""Ghost module: a convolution makes some of the channels, cheap depthwise ones the others.

K. Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020.

    y = [p, C p],   p = norm(K x)

K      in → out/s, the convolution's window
C      depthwise 3 × 3, each primary channel gives s − 1 ghosts
s      size, 2 by default as in the paper; the largest number up to it that divides out counts

The form without activation, which the paper uses where a linear output follows: the activation
behind the replaced convolution stays.
"""

import torch
from torch import Tensor, nn

from compress.compact.base import divisor, unit

SIZE = 2.0
CHEAP = 3  # window of the cheap operation


class Ghost(nn.Module):
    """[batch, in, H, W] → [batch, out, H', W']."""

    def __init__(self, conv: nn.Conv2d, ratio: int) -> None:
        super().__init__()
        primary = conv.out_channels // ratio
        like = nn.Conv2d(1, 1, CHEAP, padding=CHEAP // 2, device="meta")
        self.primary = unit(conv.in_channels, primary, conv)
        self.cheap = unit(primary, conv.out_channels - primary, like, groups=primary)

    def forward(self, x: Tensor) -> Tensor:
        p = self.primary(x)
        return torch.cat((p, self.cheap(p)), 1)


def build(conv: nn.Conv2d, size: float) -> nn.Module:
    """With one of `size` channels made in full."""
    ratio = divisor(size, conv.out_channels)
    if ratio == 1:
        raise ValueError(f"no number up to {size:g} divides its {conv.out_channels} channels")
    return Ghost(conv, ratio)
