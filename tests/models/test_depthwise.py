"""The fast backward pass against PyTorch's own."""

import pytest
import torch
from torch import nn

from models.depthwise import DepthwiseConv2d


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", [0, 1, 2])
@pytest.mark.parametrize("size", [12, 13])
def test_gradients_are_pytorchs(kernel: int, stride: int, padding: int, size: int) -> None:
    torch.manual_seed(0)
    fast = DepthwiseConv2d(6, kernel, stride, padding).double()
    plain = nn.Conv2d(6, 6, kernel, stride, padding, groups=6, bias=False).double()
    plain.load_state_dict(fast.state_dict())
    x = torch.randn(2, 6, size, size + 1, dtype=torch.float64, requires_grad=True)
    out = fast(x)
    gradient = torch.randn_like(out)
    expected = plain(x)
    assert torch.equal(out, expected)
    for one, other in zip(
        torch.autograd.grad(out, (x, fast.weight), gradient),
        torch.autograd.grad(expected, (x, plain.weight), gradient),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-12)


def test_autocast_computes_in_bfloat16() -> None:
    layer = DepthwiseConv2d(4, 5, 2, 2)
    x = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.bfloat16
    out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
