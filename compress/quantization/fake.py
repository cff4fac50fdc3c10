"""Fake quantization: the integers' values in float, with a gradient that passes the rounding.

The deployed numbers (schemes.py, static-int8 and dynamic-int8) are

    weight      w ≈ s·q          q = clip(⌊w/s⌉, −127, 127)
                                 s = max|w| / 127 of each output channel
    activation  x ≈ s·(q − z)    q = clip(⌊x/s⌉ + z, −128, 127)
                                 s = (high − low) / 255 of the tensor, low ≤ 0 ≤ high
                                 z = ⌊−128 − low/s⌉

⌊·⌉ rounds to the nearest integer. The straight-through estimator (Y. Bengio et al. 2013,
arXiv:1308.3432; B. Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", CVPR 2018) gives the gradient 1 inside the range and 0 where the
clip acts.
"""

import torch
from torch import Tensor

WEIGHT, LOWEST, HIGHEST = 127, -128, 127
TINY = 1e-9  # smallest range, as in the quantizer: no scale is zero


def weight(w: Tensor, axis: int = 0) -> Tensor:
    """Symmetric, one scale per index of `axis`, which carries no gradient."""
    others = [dim for dim in range(w.ndim) if dim != axis]
    with torch.no_grad():
        scale = w.abs().amax(others).clamp_min(TINY) / WEIGHT
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(w, scale, zero, axis, -WEIGHT, WEIGHT)


def affine(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point (int32) of a range, stretched to hold zero."""
    low, high = low.clamp_max(0), high.clamp_min(0)
    scale = (high - low).clamp_min(TINY) / (HIGHEST - LOWEST)
    return scale, torch.round(LOWEST - low / scale).to(torch.int32)


def activation(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Asymmetric, one scale for the tensor; float32 whatever x is."""
    scale, zero = affine(low, high)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, LOWEST, HIGHEST)


def dynamic(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Asymmetric with the range of the values at hand, taken over `axes`: nothing is clipped."""
    x = x.float()
    with torch.no_grad():
        scale, zero = affine(x.amin(axes, keepdim=True), x.amax(axes, keepdim=True))
        rounded = (torch.round(x / scale) + zero).clamp(LOWEST, HIGHEST)
        shift = (rounded - zero) * scale - x
    return x + shift
