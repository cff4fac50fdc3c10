"""Layers of the micro search space: separable stacks, calibration, reduction, pools, drop-path.

Every convolution is ReLU → convolution → batch norm, so a channel that is zero behind the norm
stays zero through ReLU, depthwise convolution and pooling: what is pruned there can be removed.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.depthwise import DepthwiseConv2d

POOL = 3


class Blocks(NamedTuple):
    """Which of a cell's states, each of the same number of channels, an input is joined from."""

    chosen: tuple[int, ...]
    total: int

    def of(self, weight: Tensor) -> Tensor:
        """The columns that read them, of a weight [out, total · channels, …] for all states."""
        states = weight.reshape(len(weight), self.total, -1, *weight.shape[2:])
        return states[:, list(self.chosen)].flatten(1, 2)


class Stack(nn.Module):
    """ReLU, depthwise k × k, pointwise, batch norm: half of a separable convolution."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, tracked: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(inputs, kernel, stride, kernel // 2)
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, track_running_stats=tracked)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.pointwise(self.depthwise(F.relu(x))))
        return y


class ReluConvNorm(nn.Module):
    """ReLU, 1 × 1 convolution, batch norm: gives a state the cell's number of channels."""

    def __init__(self, inputs: int, outputs: int, *, tracked: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs, track_running_stats=tracked)

    def forward(self, x: Tensor, blocks: Blocks | None = None) -> Tensor:
        y: Tensor = self.norm(_convolved(self.conv, F.relu(x), blocks))
        return y


class FactorizedReduction(nn.Module):
    """Halve height and width without losing every other pixel: two 1 × 1 convolutions of stride 2.

    The second reads the image shifted by one pixel, so both together see two of each four.
    """

    def __init__(self, inputs: int, outputs: int, *, tracked: bool = True) -> None:
        super().__init__()
        half = outputs // 2
        self.even = nn.Conv2d(inputs, half, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs - half, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(outputs, track_running_stats=tracked)

    def forward(self, x: Tensor, blocks: Blocks | None = None) -> Tensor:
        x = F.relu(x)
        even = _convolved(self.even, x, blocks)
        odd = _convolved(self.odd, x[:, :, 1:, 1:], blocks)
        y: Tensor = self.norm(torch.cat((even, odd), 1))
        return y


class DropPath(nn.Module):
    """In training, an example's branch is zero with probability `drop`, else 1/(1 − drop) of it.

    G. Larsson et al., "FractalNet", ICLR 2017; ENAS trains its final network with it.
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop == 0:
            return x
        keep = 1 - self.drop
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep) / keep


def pool(operation: str, x: Tensor, stride: int) -> Tensor:
    """3 × 3 pooling. At stride 1 the average leaves the border out, as TensorFlow's does; at
    stride 2 it counts it as zero, the form that converts to one operator."""
    if operation == "avg":
        return F.avg_pool2d(x, POOL, stride, POOL // 2, count_include_pad=stride > 1)
    return F.max_pool2d(x, POOL, stride, POOL // 2)


def _convolved(conv: nn.Conv2d, x: Tensor, blocks: Blocks | None) -> Tensor:
    """A 1 × 1 convolution, of chosen states with their columns of the weight.

    Those take their pixels before the sum: the gradient of the stride writes past its memory where
    few channels come in (compress/strided.py, which sees to layers that are called as such).
    """
    if blocks is None:
        y: Tensor = conv(x)
        return y
    rows, columns = conv.stride
    return F.conv2d(x[..., ::rows, ::columns], blocks.of(conv.weight))
