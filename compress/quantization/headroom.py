"""Ranges of what holds nothing but zeros, and of weights whose bias would not fit.

    b_q = b / (s_x · s_w)      int32; s_x and s_w are the steps of what a layer reads and of a
                               channel's weights, each range over its number of values

A filter of zeros (masked, or behind a batch norm whose scale is zero) or a layer that answers zeros
gets the quantizer's smallest step, 4e-12: its bias, or that of the layer behind, is beyond 2³¹ and
wraps around to the other sign. So a channel's range is at least what its bias asks for, and where
there is nothing but zeros, which fit any step, it is that of the other channels. A weight that
several layers share has one range: the widest that any of them asks for.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from compress.quantization import flatbuffer
from compress.quantization.flatbuffer import Operator
from compress.quantization.ranges import Ranges
from compress.quantization.sqnr import Inside

LARGEST = 2.0**30  # of a bias: half of what int32 holds
PLACES = {  # input, weight, bias
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
Array = NDArray[Any]


def given(source: Path, found: Ranges, bits: int) -> Ranges:
    """The ranges, with those of weights where they are not the weights' own; activations have
    `bits`."""
    ranges = {name: _some(one) for name, one in found.items()}
    inside = Inside(source)
    widest: dict[str, Array] = {}  # by weight, over the layers that share it
    for operator in flatbuffer.read(source):
        weight = operator.inputs[PLACES[operator.name][1]] if operator.name in PLACES else None
        if weight is None or not weight.constant:
            continue
        values = inside.value(weight.name)
        own = np.abs(values).max(_others(operator, values.ndim), keepdims=True)
        asked = 127 * _bias(operator, inside, own) / (_step(operator, ranges, bits) * LARGEST)
        if (own > 0).all() and (own >= asked).all():
            continue
        wide = np.maximum(np.where(own > 0, own, own.max() or 1.0), asked).astype(np.float32)
        wide = widest[weight.name] = np.maximum(wide, widest.get(weight.name, wide))
        ranges[weight.name] = {"min": -wide, "max": wide}
    return ranges


def _some(one: dict[str, Any]) -> dict[str, Any]:
    """A range that is one."""
    if np.any(one["min"]) or np.any(one["max"]):
        return one
    return {**one, "min": one["min"] - 1, "max": one["max"] + 1}


def _others(operator: Operator, axes: int) -> tuple[int, ...]:
    """All axes of a weight but that of its channels."""
    channels = axes - 1 if operator.name == "DEPTHWISE_CONV_2D" else 0
    return tuple(axis for axis in range(axes) if axis != channels)


def _bias(operator: Operator, inside: Inside, like: Array) -> Array:
    """|b| of every channel; 0 without one."""
    place = PLACES[operator.name][2]
    bias = operator.origins[place] if place < len(operator.origins) else None
    if bias is None:
        return np.zeros_like(like)
    return np.abs(inside.value(bias.name)).reshape(like.shape)


def _step(operator: Operator, ranges: Ranges, bits: int) -> float:
    """Of what the operator reads; infinite where that has none of its own."""
    read = operator.inputs[PLACES[operator.name][0]]
    if read is None or read.name not in ranges:
        return float("inf")
    low, high = (float(ranges[read.name][end].item()) for end in ("min", "max"))
    low, high = min(low, 0.0), max(high, 0.0)
    return max(-low, high) / 32767 if bits == 16 else (high - low) / 255  # 16 bits: symmetric
