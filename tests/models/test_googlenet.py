"""GoogLeNet for small images: the size of the published definition, from the paper's table."""

import torch

from compress import count
from models.googlenet import INCEPTIONS, GoogLeNet, Inception

OUTPUTS = (256, 480, None, 512, 512, 512, 528, 832, None, 832, 1024)  # the paper's table 1


def test_size_from_the_table() -> None:
    # (inputs, outputs, kernel, side of the output) of every convolution
    layers, inputs, side = [(3, 192, 3, 32)], 192, 32
    for channels, outputs in zip(INCEPTIONS, OUTPUTS, strict=True):
        if channels is None or outputs is None:
            side //= 2
            continue
        one, low3, high3, low5, high5, pooled = channels
        layers += [
            (inputs, one, 1, side),
            (inputs, low3, 1, side),
            (low3, high3, 3, side),
            (inputs, low5, 1, side),
            (low5, high5, 3, side),
            (high5, high5, 3, side),
            (inputs, pooled, 1, side),
        ]
        inputs = outputs
    weights = sum(i * o * k * k for i, o, k, _ in layers)
    channels_made = sum(o for _, o, _, _ in layers)
    answer = 1024 * 10 + 10
    net = GoogLeNet(10)
    assert count.parameters(net) == weights + 2 * channels_made + answer == 6_158_346
    # with the biases before batch norm that github.com/kuangliu/pytorch-cifar keeps
    assert count.parameters(net) + channels_made == 6_166_250
    macs = sum(i * o * k * k * size * size for i, o, k, size in layers) + 1024 * 10
    assert count.macs(net, torch.zeros(1, 3, 32, 32)) == macs == 1_521_756_160


def test_branches_are_joined_in_order() -> None:
    inception = Inception(8, (1, 2, 3, 4, 5, 6)).eval()
    x = torch.rand(1, 8, 5, 5)
    joined = inception(x)
    assert joined.shape == (1, 1 + 3 + 5 + 6, 5, 5)
    assert torch.equal(joined[:, 1:4], inception.three(x))
    assert torch.equal(joined[:, -6:], inception.pool(x))


def test_width_scales_every_layer() -> None:
    net = GoogLeNet(4, width=8).eval()
    assert net.classifier.in_features == 128
    assert net(torch.zeros(2, 3, 16, 16)).shape == (2, 4)
