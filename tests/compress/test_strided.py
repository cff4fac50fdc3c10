"""Strided 1 × 1 convolutions give the same outputs and gradients on their other way."""

import pytest
import torch
from torch import nn

from compress import strided


@pytest.mark.parametrize("bias", [False, True])
def test_outputs_and_gradients_are_those_of_the_stride(bias: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 20, 1, stride=2, bias=bias), nn.Conv2d(20, 4, 1, stride=2))
    x = torch.randn(2, 3, 9, 8)
    expected = net(x)  # contiguous: the gradient of this form is right
    gradients = torch.autograd.grad(expected.square().sum(), [*net.parameters()])
    with strided.subsampled(net):
        assert "forward" in vars(net[0]) and "forward" not in vars(net[1])
        with strided.subsampled(net):
            found = net(x)
        found = net(x)
        others = torch.autograd.grad(found.square().sum(), [*net.parameters()])
    assert "forward" not in vars(net[0])
    torch.testing.assert_close(found, expected)
    for one, other in zip(gradients, others, strict=True):
        torch.testing.assert_close(one, other)


def test_a_layer_with_few_inputs_is_trained_with_channels_last() -> None:
    for channels in (1, 2, 3, 5, 7):  # this aborts on AVX2 without the other way
        net = nn.Sequential(nn.Conv2d(channels, 32, 1, stride=2, bias=False))
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.randn(8, channels, 8, 8).contiguous(memory_format=torch.channels_last)
        with strided.subsampled(net):
            for _ in range(5):
                net(x).sum().backward()
        seen = x[..., ::2, ::2].sum((0, 2, 3)) * 5
        torch.testing.assert_close(net[0].weight.grad[:, :, 0, 0], seen.expand(32, -1))
