"""Inverted residual: expand by 1 × 1, depthwise window, project by 1 × 1.

M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.

    y = P relu6(norm(D relu6(norm(E x))))  (+ x where shape and stride allow)

E      in → t, 1 × 1, t = ⌈size · in⌉    D   depthwise, the convolution's window
P      t → out, 1 × 1, no activation
size   the paper's expansion, 2 by default: with the paper's 6 the block would cost more than the
       3 × 3 convolution it replaces, 12·in² instead of 9·in² weights
"""

import math

from torch import Tensor, nn

from compress.compact.base import centred, unit

SIZE = 2.0


class InvertedResidual(nn.Module):
    """[batch, in, H, W] → [batch, out, H', W']."""

    def __init__(self, conv: nn.Conv2d, width: int) -> None:
        super().__init__()
        inputs, outputs = conv.in_channels, conv.out_channels
        self.shortcut = inputs == outputs and max(conv.stride) == 1 and centred(conv)
        self.expand = unit(inputs, width, activation=nn.ReLU6())
        self.window = unit(width, width, conv, groups=width, activation=nn.ReLU6())
        self.project = unit(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.window(self.expand(x)))
        return x + y if self.shortcut else y


def build(conv: nn.Conv2d, size: float) -> nn.Module:
    """With ⌈size · in⌉ channels in the middle."""
    return InvertedResidual(conv, math.ceil(size * conv.in_channels))
