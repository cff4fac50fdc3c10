"""GoogLeNet for small images.

C. Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, table 1, in the form of
github.com/kuangliu/pytorch-cifar: one 3 × 3 convolution as stem, batch norm, two 3 × 3 instead of
a 5 × 5, no auxiliary answers. That code keeps biases in front of batch norm (6,166,250
parameters); here they are gone: 6,158,346 parameters, 1,522 M multiply-accumulates on 32 × 32
with 10 classes. Pruning papers give 6.15 M and 1.52 G (HRank, CVPR 2020).
"""

import torch
from torch import Tensor, nn

from models.layers import conv_norm

WIDTH = 64
STEM = 192
# 1×1; 1×1 → 3×3; 1×1 → 3×3 → 3×3; pool → 1×1. None halves the image.
INCEPTIONS: tuple[tuple[int, int, int, int, int, int] | None, ...] = (
    (64, 96, 128, 16, 32, 32),
    (128, 128, 192, 32, 96, 64),
    None,
    (192, 96, 208, 16, 48, 64),
    (160, 112, 224, 24, 64, 64),
    (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64),
    (256, 160, 320, 32, 128, 128),
    None,
    (256, 160, 320, 32, 128, 128),
    (384, 192, 384, 48, 128, 128),
)


def _layer(inputs: int, outputs: int, kernel: int = 1) -> nn.Module:
    return conv_norm(inputs, outputs, kernel, activation=nn.ReLU())


class Inception(nn.Module):
    """Four branches over the same input, joined along channels."""

    def __init__(self, inputs: int, channels: tuple[int, ...]) -> None:
        super().__init__()
        one, low3, high3, low5, high5, pooled = channels
        self.one = _layer(inputs, one)
        self.three = nn.Sequential(_layer(inputs, low3), _layer(low3, high3, 3))
        self.five = nn.Sequential(
            _layer(inputs, low5), _layer(low5, high5, 3), _layer(high5, high5, 3)
        )
        self.pool = nn.Sequential(nn.MaxPool2d(3, stride=1, padding=1), _layer(inputs, pooled))
        self.outputs = one + high3 + high5 + pooled

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((self.one(x), self.three(x), self.five(x), self.pool(x)), 1)


class GoogLeNet(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 4.

    `width` scales every layer; 64 is the paper's, multiples of 8 keep the numbers whole.
    """

    def __init__(self, classes: int, width: int = WIDTH) -> None:
        super().__init__()
        inputs = STEM * width // WIDTH
        layers: list[nn.Module] = [_layer(3, inputs, 3)]
        for channels in INCEPTIONS:
            if channels is None:
                layers.append(nn.MaxPool2d(3, stride=2, padding=1))
                continue
            inception = Inception(inputs, tuple(size * width // WIDTH for size in channels))
            layers.append(inception)
            inputs = inception.outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.features(x).mean((2, 3)))
        return logits
