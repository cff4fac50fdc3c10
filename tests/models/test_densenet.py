"""DenseNet-121 for small images: the size of the published definition, by layer."""

import pytest
import torch

from compress import count
from models.densenet import DenseNet, Layer


@pytest.mark.parametrize(("growth", "published"), [(32, 6_956_298), (12, 1_000_618)])
def test_size_by_layer(growth: int, published: int) -> None:
    inputs, side = 2 * growth, 32
    weights, macs = 3 * inputs * 9, 3 * inputs * 9 * side * side
    for block, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            kernels = inputs * 4 * growth + 4 * growth * growth * 9
            weights += kernels + 2 * inputs + 2 * 4 * growth  # two norms
            macs += kernels * side * side
            inputs += growth
        if block < 3:
            weights += 2 * inputs + inputs * (inputs // 2)
            macs += inputs * (inputs // 2) * side * side
            inputs, side = inputs // 2, side // 2
    net = DenseNet(121, 10, growth)
    assert count.parameters(net) == weights + 2 * inputs + inputs * 10 + 10 == published
    assert count.macs(net, torch.zeros(1, 3, 32, 32)) == macs + inputs * 10


def test_a_layer_passes_its_input_on() -> None:
    layer = Layer(6, 4).eval()
    x = torch.rand(2, 6, 5, 5)
    y = layer(x)
    assert y.shape == (2, 10, 5, 5)
    assert torch.equal(y[:, :6], x)


def test_unknown_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="depth 40 is not one of 121"):
        DenseNet(40, 10)
