"""Fire: squeeze to few channels by 1 × 1, expand half by 1 × 1 and half by the window.

F. N. Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and < 0.5MB
model size", arXiv:1602.07360.

    s = relu(norm(S x)),   y = [E₁ s, E_k s]

S      in → s, 1 × 1, s = ⌈size · out⌉
E₁     s → out − ⌊out/2⌋, 1 × 1          E_k   s → ⌊out/2⌋, the convolution's window
size   the paper's squeeze ratio over the whole output, .25 by default (the paper: .125)

[C] Stride goes to both expanding halves; they only line up if the window is padded to keep its
centre, so other convolutions are refused. Norms are ours; the paper is older than they are.
"""

import math

import torch
from torch import Tensor, nn

from compress.compact.base import centred, point, unit

SIZE = 0.25


class Fire(nn.Module):
    """[batch, in, H, W] → [batch, out, H', W']."""

    def __init__(self, conv: nn.Conv2d, squeezed: int) -> None:
        super().__init__()
        wide = conv.out_channels // 2
        self.squeeze = unit(conv.in_channels, squeezed, activation=nn.ReLU())
        self.one = unit(squeezed, conv.out_channels - wide, point(conv.stride))
        self.window = unit(squeezed, wide, conv)

    def forward(self, x: Tensor) -> Tensor:
        s = self.squeeze(x)
        return torch.cat((self.one(s), self.window(s)), 1)


def build(conv: nn.Conv2d, size: float) -> nn.Module:
    """With ⌈size · out⌉ squeezed channels."""
    if not centred(conv):
        raise ValueError("its padding does not keep the window's centre")
    if conv.out_channels == 1:
        raise ValueError("its one output channel has no halves")
    return Fire(conv, math.ceil(size * conv.out_channels))
