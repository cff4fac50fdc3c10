"""One small network per graph pattern that pruning must get right."""

import torch
from torch import Tensor, nn

from models.efficientnet_lite import InvertedBottleneck
from models.layers import conv_norm
from models.resnet import ResNet


class Concat(nn.Module):
    """Two branches joined along channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv_norm(3, 16, 3), conv_norm(3, 24, 1)
        self.join = conv_norm(40, 16, 1, activation=nn.ReLU())
        self.classifier = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat((torch.relu(self.one(x)), torch.relu(self.two(x))), 1)
        logits: Tensor = self.classifier(self.join(joined).mean((2, 3)))
        return logits


class Sequence(nn.Module):
    """Layers in a row, pooled, with a linear answer."""

    def __init__(self, *layers: nn.Module, features: int) -> None:
        super().__init__()
        self.layers, self.classifier = nn.Sequential(*layers), nn.Linear(features, 4)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.layers(x).mean((2, 3)))
        return logits


def chain() -> nn.Module:
    return Sequence(
        conv_norm(3, 24, 3, activation=nn.ReLU()),
        conv_norm(24, 32, 3, 2, activation=nn.ReLU()),
        features=32,
    )


def depthwise() -> nn.Module:
    return Sequence(
        conv_norm(3, 16, 3, activation=nn.ReLU6()),
        InvertedBottleneck(16, 24, 6, 5, 2),
        InvertedBottleneck(24, 24, 6, 3, 1),
        features=24,
    )


def residual() -> nn.Module:
    return ResNet(8, 4, 16)


GRAPHS = {"chain": chain, "residual": residual, "depthwise": depthwise, "concat": Concat}


def make(name: str) -> nn.Module:
    """The network with norms that are not the identity, so that masks have something to miss."""
    torch.manual_seed(0)
    net = GRAPHS[name]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.5)
            nn.init.normal_(module.running_mean, 0.0, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()
