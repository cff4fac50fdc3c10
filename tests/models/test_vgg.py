"""VGG-16: the published size, by table and by layer."""

import torch
from torch import nn

from compress import count
from models.vgg import VGG16


def test_sixteen_layers_of_the_published_size() -> None:
    net = VGG16(10)
    assert count.parameters(net) == 14_728_266
    assert count.macs(net, torch.zeros(1, 3, 32, 32)) == 313_201_664
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [
        *[64] * 2,
        *[128] * 2,
        *[256] * 3,
        *[512] * 6,
    ]


def test_width_scales_every_layer_and_larger_images_pass() -> None:
    net = VGG16(7, width=4).eval()
    assert net.classifier.in_features == 32
    assert net(torch.zeros(2, 3, 64, 96)).shape == (2, 7)
