"""DenseNet-BC, ImageNet's depths with a stem for small images.

G. Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, table 1: every layer reads
the channels of all layers before it in its block; 1 × 1 bottlenecks of 4 · growth channels;
transitions halve the channels and the image. The 7 × 7 stem and its pool give way to one 3 × 3
convolution of stride 1, as in github.com/kuangliu/pytorch-cifar. DenseNet-121, growth 32, on
32 × 32 with 10 classes: 6,956,298 parameters, 888 M multiply-accumulates; growth 12: 1,000,618.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEPTHS = {121: (6, 12, 24, 16)}  # layers per block


class Layer(nn.Module):
    """norm → relu → 1 × 1 → norm → relu → 3 × 3, joined to its input along channels."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.first_norm = nn.BatchNorm2d(inputs)
        self.first = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(4 * growth)
        self.second = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.first(F.relu(self.first_norm(x)))
        return torch.cat((x, self.second(F.relu(self.second_norm(inner)))), 1)


class Transition(nn.Module):
    """norm → relu → 1 × 1 → 2 × 2 mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """[batch, 3, H, W] → logits [batch, classes]; H and W multiples of 8."""

    def __init__(self, depth: int, classes: int, growth: int = 32) -> None:
        super().__init__()
        if depth not in DEPTHS:
            raise ValueError(f"depth {depth} is not one of {', '.join(map(str, DEPTHS))}")
        inputs = 2 * growth
        self.stem = nn.Conv2d(3, inputs, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        for block, count in enumerate(DEPTHS[depth]):
            if block:
                layers.append(Transition(inputs, inputs // 2))
                inputs //= 2
            for _ in range(count):
                layers.append(Layer(inputs, growth))
                inputs += growth
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(inputs)
        self.classifier = nn.Linear(inputs, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = F.relu(self.norm(self.layers(self.stem(x))))
        logits: Tensor = self.classifier(features.mean((2, 3)))
        return logits
