"""ImageNet's ResNets, 18 to 50 layers, with a stem for small images.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1: four stages with
w, 2w, 4w and 8w channels. The 7 × 7 stem and its pool give way to one 3 × 3 convolution of stride
1, and a bottleneck strides in its 3 × 3 convolution, as in github.com/kuangliu/pytorch-cifar. On
32 × 32 with 10 classes, w = 64:

    depth   blocks        parameters   multiply-accumulates
    18      2, 2, 2, 2    11,173,962     555 M
    34      3, 4, 6, 3    21,282,122   1,159 M
    50      3, 4, 6, 3    23,520,842   1,298 M   (bottlenecks)

Depth 50 is what several pruning papers call "ResNet-56" on CIFAR-10; the 56 layers of He's
section 4.2 are models/resnet.py.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv_norm
from models.resnet import Block

EXPANSION = 4  # output channels of a bottleneck over its inner ones
DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # blocks per stage


class Bottleneck(nn.Module):
    """1 × 1 down, 3 × 3, 1 × 1 up, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs // EXPANSION
        self.first = conv_norm(inputs, inner, 1, activation=nn.ReLU())
        self.second = conv_norm(inner, inner, 3, stride, activation=nn.ReLU())
        self.third = conv_norm(inner, outputs, 1)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.third(self.second(self.first(x))) + self.shortcut(x))


class ResNetLarge(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 8."""

    def __init__(self, depth: int, classes: int, width: int = 64) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth {depth} is not one of {', '.join(map(str, DEPTHS))}")
        make: type[Bottleneck | Block] = Bottleneck if depth == 50 else Block
        expansion = EXPANSION if depth == 50 else 1
        self.stem = conv_norm(3, width, 3, activation=nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = width
        for stage, count in enumerate(DEPTHS[depth]):
            outputs = width * 2**stage * expansion
            for index in range(count):
                blocks.append(make(inputs, outputs, 2 if stage and index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits
