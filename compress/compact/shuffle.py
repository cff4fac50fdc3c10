"""Group convolution, channel shuffle, grouped 1 × 1 convolution.

X. Zhang et al., "ShuffleNet: An Extremely Efficient Convolutional Neural Network for Mobile
Devices", CVPR 2018: groups save, and a shuffle between two of them lets every output see every
input.

    y = G₂(shuffle(relu(norm(G₁ x))))      shuffle: channel (g, i) → (i, g)

G₁   window of the convolution, in → out, `size` groups
G₂   1 × 1, out → out, `size` groups
size groups, 4 by default; the largest number up to it that divides in and out counts
Weights: in·out·window/size + out²/size, instead of in·out·window.

[C] The paper's unit is a residual bottleneck; this is the part of it that stands for one
convolution, with the window in the first group convolution instead of a depthwise one.

A later `prune` cannot take channels between window and mix, where the shuffle reshapes them: it
refuses until `keep = ["*.window.conv"]` (or the names it tells) leaves them whole. Inputs and
outputs can go, the same positions of every group.
"""

from torch import Tensor, nn

from compress.compact.base import divisor, unit

SIZE = 4.0


class GroupShuffle(nn.Module):
    """[batch, in, H, W] → [batch, out, H', W']."""

    def __init__(self, conv: nn.Conv2d, groups: int) -> None:
        super().__init__()
        inputs, outputs = conv.in_channels, conv.out_channels
        self.groups = groups
        self.window = unit(inputs, outputs, conv, groups=groups, activation=nn.ReLU())
        self.mix = unit(outputs, outputs, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        y = self.window(x).unflatten(1, (self.groups, -1))
        mixed: Tensor = self.mix(y.transpose(1, 2).flatten(1, 2))
        return mixed


def build(conv: nn.Conv2d, size: float) -> nn.Module:
    """With the most groups up to `size` that the channels allow."""
    groups = divisor(size, conv.in_channels, conv.out_channels)
    if groups == 1:
        raise ValueError(f"no number up to {size:g} divides its channels")
    return GroupShuffle(conv, groups)
