"""ResNet-18, -34 and -50 with a stem for small images: published sizes."""

import pytest
import torch
from torch import nn

from compress import count
from models.resnet_large import ResNetLarge


@pytest.mark.parametrize(
    ("depth", "parameters", "macs"),
    [(18, 11_173_962, 555.4), (34, 21_282_122, 1159.4), (50, 23_520_842, 1297.8)],
)
def test_published_sizes(depth: int, parameters: int, macs: float) -> None:
    net = ResNetLarge(depth, 10)
    assert count.parameters(net) == parameters
    assert round(count.macs(net, torch.zeros(1, 3, 32, 32)) / 1e6, 1) == macs


@pytest.mark.parametrize(("depth", "shortcuts"), [(18, 3), (34, 3), (50, 4)])
def test_depth_counts_layers_with_weights(depth: int, shortcuts: int) -> None:
    net = ResNetLarge(depth, 10, width=4)
    found = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in net.modules())
    assert found == depth + shortcuts  # bottlenecks widen the first stage too


def test_unknown_depths_are_refused() -> None:
    with pytest.raises(ValueError, match="depth 56 is not one of 18, 34, 50"):
        ResNetLarge(56, 10)
