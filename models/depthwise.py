"""Depthwise convolution whose backward pass is fast on a CPU.

PyTorch's CPU backward of a depthwise convolution in bfloat16 has two slow corners, measured on
one AVX-512 core at batch 32: the input's gradient at stride 2 (203 ms where the forward pass
takes 12) and the weight's gradient of a 5 × 5 kernel (100 ms against 2.4). The same numbers come
from operators that are fast:

    ∂L/∂x  = conv(gradient with zeros between its pixels, kernel rotated by 180°)
    ∂L/∂w  of 5 × 5 = the four 3 × 3 corners, each the gradient of a 3 × 3 kernel on a shifted input
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Depthwise(torch.autograd.Function):
    """x [n, c, h, w], weight [c, 1, k, k] → [n, c, h', w']; square kernel, stride and padding."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        return (
            _input_gradient(gradient, x.shape, weight, ctx.stride, ctx.padding)
            if ctx.needs_input_grad[0]
            else None,
            _weight_gradient(gradient, x, weight, ctx.stride, ctx.padding),
            None,
            None,
        )


def _input_gradient(
    gradient: Tensor, shape: torch.Size, weight: Tensor, stride: int, padding: int
) -> Tensor:
    kernel = weight.shape[-1]
    if stride > 1:
        rows, columns = (size + 2 * padding - kernel + 1 for size in shape[2:])
        spread = gradient.new_zeros(
            (shape[0], rows, columns, shape[1])  # channels last in memory
        ).permute(0, 3, 1, 2)
        spread[..., ::stride, ::stride] = gradient
        gradient = spread
    return F.conv2d(
        gradient, weight.flip(2, 3), None, padding=kernel - 1 - padding, groups=len(weight)
    )


def _weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    kernel = weight.shape[-1]
    if kernel != 5:
        return _small_weight_gradient(gradient, x, weight, stride, padding)
    x = F.pad(x, (padding,) * 4)
    height, width = ((size - 1) * stride + 3 for size in gradient.shape[2:])
    result = torch.empty_like(weight)
    for row in (0, 2):
        for column in (0, 2):
            part = x[..., row : row + height, column : column + width]
            corner = weight[..., row : row + 3, column : column + 3].contiguous()
            result[..., row : row + 3, column : column + 3] = _small_weight_gradient(
                gradient, part.contiguous(memory_format=torch.channels_last), corner, stride, 0
            )
    return result


def _small_weight_gradient(
    gradient: Tensor, x: Tensor, weight: Tensor, stride: int, padding: int
) -> Tensor:
    _, result, _ = torch.ops.aten.convolution_backward(
        gradient,
        x,
        weight,
        None,
        [stride, stride],
        [padding, padding],
        [1, 1],
        False,
        [0, 0],
        len(weight),
        [False, True, False],
    )
    assert isinstance(result, Tensor)
    return result


class DepthwiseConv2d(nn.Conv2d):
    """nn.Conv2d with one kernel per channel, no bias; only its backward pass differs."""

    def __init__(self, channels: int, kernel: int, stride: int = 1, padding: int = 0) -> None:
        super().__init__(channels, channels, kernel, stride, padding, groups=channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight = x.to(dtype), weight.to(dtype)
        result: Tensor = _Depthwise.apply(x, weight, self.stride[0], self.padding[0])  # type: ignore[no-untyped-call]
        return result
