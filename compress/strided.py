"""1 × 1 convolutions with a stride, trained without harm.

oneDNN's gradient of their weights writes past its workspace where channels are last in memory and
fewer than a block of 8 or 16 come in (uxlfoundation/oneDNN#6035, seen with torch 2.13 on AVX2): the
process is aborted, or worse, is not. Pruning makes such layers. The same sum without a stride, over
every other pixel, takes another way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 16  # input channels from which on nothing is written past


@contextmanager
def subsampled(net: nn.Module) -> Iterator[None]:
    """While this lasts, such layers of a network take their pixels first. May be nested."""
    layers = (layer for layer in net.modules() if isinstance(layer, nn.Conv2d))
    found = [layer for layer in layers if _harmful(layer)]
    for layer in found:
        layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
    try:
        yield
    finally:
        for layer in found:
            del layer.forward


def _harmful(layer: nn.Conv2d) -> bool:
    return (
        layer.kernel_size == (1, 1)
        and max(layer.stride) > 1
        and layer.padding == (0, 0)
        and layer.in_channels < BLOCK
        and "forward" not in vars(layer)
    )


def _forward(layer: nn.Conv2d, x: Tensor) -> Tensor:
    rows, columns = layer.stride
    return F.conv2d(x[..., ::rows, ::columns], layer.weight, layer.bias, groups=layer.groups)
