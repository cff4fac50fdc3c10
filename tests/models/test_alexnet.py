"""AlexNet for small images: the published size, by hand."""

import torch

from compress import count
from models.alexnet import AlexNet

# inputs, outputs, kernel, side of the output on 32 × 32
LAYERS = ((3, 64, 11, 8), (64, 192, 5, 4), (192, 384, 3, 2), (384, 256, 3, 2), (256, 256, 3, 2))


def test_size_is_the_published_one() -> None:
    net = AlexNet(10)
    weights = sum(i * o * k * k + o for i, o, k, _ in LAYERS) + 256 * 10 + 10
    assert count.parameters(net) == weights == 2_472_266  # published: 2.47 M
    macs = sum(i * o * k * k * side * side for i, o, k, side in LAYERS) + 256 * 10
    assert count.macs(net, torch.zeros(1, 3, 32, 32)) == macs == 14_957_056


def test_classes_and_width() -> None:
    assert AlexNet(3, width=8).eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
