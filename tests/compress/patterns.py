"""Graph patterns of real networks, each built at any width: what pruning by half must arrive at.

`width` channels become `width` / 2 everywhere, so a network pruned to half has exactly the shapes
of one built at half the width.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.alexnet import AlexNet
from models.densenet import DenseNet, Layer, Transition
from models.googlenet import GoogLeNet, Inception
from models.layers import conv_norm
from models.resnet import Block, ResNet
from models.resnet_large import Bottleneck, ResNetLarge
from models.tcn import TCN
from models.vgg import VGG16


def _relu(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> nn.Module:
    return conv_norm(inputs, outputs, kernel, stride, activation=nn.ReLU())


class Answer(nn.Module):
    """Stem → body → mean → classifier."""

    def __init__(self, width: int, body: nn.Module, features: int) -> None:
        super().__init__()
        self.stem, self.body = _relu(3, width, 3), body
        self.classifier = nn.Linear(features, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.body(self.stem(x)).mean((2, 3)))
        return logits


class Halves(nn.Module):
    """torch.chunk: one half is convolved, the other passes; both are joined again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.left = _relu(width // 2, width, 3)
        self.right = _relu(width // 2, width)

    def forward(self, x: Tensor) -> Tensor:
        left, right = torch.chunk(x, 2, 1)
        return torch.cat((self.left(left), self.right(right)), 1)


class Partial(nn.Module):
    """C2f: both halves are joined with what is made of the second, and of that again."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = _relu(width, 2 * width)
        self.one, self.two = _relu(width, width, 3), _relu(width, width, 3)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.spread(x).chunk(2, 1))
        parts.append(self.one(parts[-1]))
        parts.append(self.two(parts[-1]))
        return torch.cat(parts, 1)


class Gated(nn.Module):
    """Gated linear unit: one half of the channels multiplies the other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spread = _relu(width, 2 * width, 3)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.spread(x).chunk(2, 1)
        return value * torch.sigmoid(gate)


class Portions(nn.Module):
    """torch.split into unequal portions whose sizes follow the layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.small, self.large = _relu(width // 4, width), _relu(width - width // 4, width)

    def forward(self, x: Tensor) -> Tensor:
        sizes = [layer.get_submodule("conv").in_channels for layer in (self.small, self.large)]
        small, large = torch.split(x, sizes, 1)
        return F.relu(self.small(small) + self.large(large))


class Grouped(nn.Module):
    """ResNeXt's bottleneck: a convolution in 4 groups inside a residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _relu(width, 2 * width)
        self.second = nn.Sequential(
            nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=4),
            nn.BatchNorm2d(2 * width),
            nn.ReLU(),
        )
        self.third = conv_norm(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.third(self.second(self.first(x))))


class Transposed(nn.Module):
    """Up by a transposed convolution, filtered by a depthwise one, then down."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(width, 2 * width, 2, stride=2)
        self.norm = nn.BatchNorm2d(2 * width)
        self.each = nn.ConvTranspose2d(2 * width, 2 * width, 3, padding=1, groups=2 * width)
        self.down = _relu(2 * width, width, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down(self.each(F.relu(self.norm(self.up(x)))))
        return y


class FactorisedReduction(nn.Module):
    """Two 1 × 1 convolutions of stride 2, one of them a pixel further, joined: ENAS's halving."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        shifted = F.pad(x, (0, 1, 0, 1))[:, :, 1:, 1:]
        y: Tensor = self.norm(torch.cat((self.even(x), self.odd(shifted)), 1))
        return y


class Separable(nn.Module):
    """ENAS's separable convolution: (relu, depthwise, pointwise, norm) twice."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.steps = nn.Sequential(
            *(
                nn.Sequential(
                    nn.ReLU(),
                    nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
                    nn.Conv2d(width, width, 1, bias=False),
                    nn.BatchNorm2d(width),
                )
                for _ in range(2)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.steps(x)
        return y


class Cell(nn.Module):
    """Two inputs of other shapes, nodes that add two operations, the unused nodes joined."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.second = _relu(width, 2 * width, 3, 2)  # the previous layer
        self.calibrate = FactorisedReduction(width, width)  # the layer before it
        self.squeeze = conv_norm(2 * width, width)
        self.three, self.five = Separable(width, 3), Separable(width, 5)
        self.again = Separable(width, 3)
        self.join = _relu(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        zero, one = self.calibrate(F.relu(x)), self.squeeze(F.relu(self.second(x)))
        two = self.three(zero) + one  # identity
        three = self.five(one) + F.max_pool2d(two, 3, 1, 1)
        four = F.avg_pool2d(zero, 3, 1, 1) + zero
        five = self.again(two) + F.avg_pool2d(one, 3, 1, 1)
        y: Tensor = self.join(F.relu(torch.cat((three, four, five), 1)))
        return y


class Scaled(nn.Module):
    """A bare parameter scales channels inside a residual block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv_norm(width, width, 3)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, width)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.scale * self.body(x))


class Flattened(nn.Module):
    """Feature maps become a vector without a mean: every channel feeds 16 columns."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.stem = _relu(3, width, 3)
        self.hidden = nn.Linear(16 * width, 2 * width)
        self.classifier = nn.Linear(2 * width, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.adaptive_max_pool2d(self.stem(x), 4)
        logits: Tensor = self.classifier(F.relu(self.hidden(maps.flatten(1))))
        return logits


def _body(make: Callable[[int], nn.Module], features: int = 1) -> Callable[[int], nn.Module]:
    return lambda width: Answer(width, make(width), features * width)


# name → network at a width; `width` / 2 must exist too
SMALL: dict[str, Callable[[int], nn.Module]] = {
    "chain": _body(lambda w: nn.Sequential(_relu(w, 2 * w, 3), _relu(2 * w, w, 3, 2))),
    "residual, identity": _body(lambda w: Block(w, w, 1)),
    "residual, projection": _body(lambda w: Block(w, 2 * w, 2), 2),
    "bottleneck": _body(lambda w: Bottleneck(w, 4 * w, 2), 4),
    "concat": _body(lambda w: Inception(w, (w, w // 2, w, w // 2, w, w)), 4),
    "chunk": _body(Halves, 2),
    "partial": _body(Partial, 4),
    "gate": _body(Gated),
    "split by sizes": _body(Portions),
    "depthwise": _body(lambda w: Separable(w, 5)),
    "grouped": _body(Grouped),
    "transposed": _body(Transposed),
    "factorised reduction": _body(lambda w: FactorisedReduction(w, 2 * w), 2),
    "dense": _body(lambda w: nn.Sequential(Layer(w, w), Layer(2 * w, w), Transition(3 * w, w))),
    "cell": _body(Cell),
    "scale": _body(Scaled),
    "flatten": Flattened,
}

NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "alexnet": lambda w: AlexNet(5, w),
    "vgg16": lambda w: VGG16(5, w),
    "resnet20": lambda w: ResNet(20, 5, w),
    "resnet56": lambda w: ResNet(56, 5, w),
    "resnet34": lambda w: ResNetLarge(34, 5, w),
    "resnet50": lambda w: ResNetLarge(50, 5, w),
    "googlenet": lambda w: GoogLeNet(5, w),
    "densenet121": lambda w: DenseNet(121, 5, w),
}


def tcn(width: int) -> TCN:
    """The enhancer's dilated convolutions over time."""
    return TCN(33, 33, "magnitude", residual=width, hidden=2 * width, dilations=(1, 2, 4))


def shaken(net: nn.Module) -> nn.Module:
    """Norms that are not the identity, so that masks have something to miss."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.3)
            nn.init.normal_(module.running_mean, 0.0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()
