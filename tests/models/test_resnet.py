"""ResNet: depths there are, shapes of the stem's stride."""

import pytest
import torch
from torch import nn

from compress import count
from models.resnet import ResNet


@pytest.mark.parametrize(("depth", "convolutions"), [(8, 9), (14, 15), (20, 21)])
def test_depth_counts_layers_with_weights(depth: int, convolutions: int) -> None:
    net = ResNet(depth, 10)
    found = sum(isinstance(module, nn.Conv2d) for module in net.modules())
    assert found == convolutions  # depth − 1 and two shortcuts


@pytest.mark.parametrize(
    ("depth", "parameters", "macs"), [(20, 272_474, 40.8), (56, 855_770, 125.7)]
)
def test_published_sizes(depth: int, parameters: int, macs: float) -> None:
    net = ResNet(depth, 10)
    assert count.parameters(net) == parameters
    assert round(count.macs(net, torch.zeros(1, 3, 32, 32)) / 1e6, 1) == macs
    # option A has no 1 × 1 convolutions with their norms: the paper's 0.27 M and 0.85 M
    option_a = parameters - (16 * 32 + 2 * 32) - (32 * 64 + 2 * 64)
    assert option_a == {20: 269_722, 56: 853_018}[depth]


def test_a_depth_that_is_not_6n_plus_2_is_refused() -> None:
    with pytest.raises(ValueError, match="depth 10"):
        ResNet(10, 5)


def test_stride_two_sees_a_64_pixel_image_as_32() -> None:
    shapes = []
    for size, stride in ((32, 1), (64, 2)):
        net = ResNet(8, 5, stride=stride).eval()
        net.stem.register_forward_hook(lambda m, i, out: shapes.append(tuple(out.shape)))
        assert net(torch.zeros(1, 3, size, size)).shape == (1, 5)
    assert shapes[0] == shapes[1]
