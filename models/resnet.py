"""ResNet for small images.

K. He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2: a 3 × 3 stem,
three stages of n blocks (depth = 6n + 2) with w, 2w and 4w channels, global average pooling. The
shortcut across a change of shape is a 1 × 1 convolution (the paper's option B), which channels can
be removed from; option A, zeros in place of the missing channels, has 2,752 parameters and 0.26 M
multiply-accumulates less. On 32 × 32 with 10 classes, w = 16:

    depth   parameters   multiply-accumulates     (option A)
    20      272,474       40.8 M                  (269,722)
    56      855,770      125.7 M                  (853,018)

`stride` 2 of the stem is for larger images (64 × 64 and up), where the paper's stem would cost 4 ×.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from models.layers import conv_norm


class Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(inputs, outputs, 3, stride, activation=nn.ReLU())
        self.second = conv_norm(outputs, outputs, 3)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else conv_norm(inputs, outputs, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 4 · stride."""

    def __init__(self, depth: int, classes: int, width: int = 16, stride: int = 1) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth {depth} is not 6n + 2")
        self.stem = conv_norm(3, width, 3, stride, activation=nn.ReLU())
        blocks: list[nn.Module] = []
        inputs = width
        for stage in range(3):
            for index in range((depth - 2) // 6):
                outputs = width * 2**stage
                blocks.append(Block(inputs, outputs, 2 if stage and index == 0 else 1))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.blocks(self.stem(x)).mean((2, 3)))
        return logits
