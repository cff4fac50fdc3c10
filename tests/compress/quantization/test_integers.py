"""The deployed integers are those of the published arithmetic, operator by operator.

B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference", CVPR 2018, equations 4 to 8. The accumulator is exact; it is brought to the output's
scale by a 32-bit fixed-point multiplier and a rounding shift:

    q_y = z_y + (M₀·Σ (q_x − z_x)·q_w + bias) >> n,      M₀·2⁻ⁿ = s_x·s_w / s_y
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from compress.quantization.flatbuffer import OPERATORS
from compress.quantization.sqnr import Inside
from device.runtime import Runtime
from tests.compress.quantization.conftest import Converted

Integers = NDArray[np.int64]
RELU, RELU6 = 1, 3  # of the fused activations


class Node:
    """An operator of a file with the integers that went in and out."""

    def __init__(self, inside: Inside, graph: Any, operator: Any) -> None:
        self.options = operator.builtinOptions
        self.inputs = [Values(inside, graph.tensors[i]) for i in operator.inputs]
        self.output = Values(inside, graph.tensors[operator.outputs[0]])


class Values:
    """A tensor's integers and what they mean."""

    def __init__(self, inside: Inside, tensor: Any) -> None:
        detail = inside._details[tensor.name.decode()]
        self.q: Integers = inside._interpreter.get_tensor(detail["index"]).astype(np.int64)
        parameters = detail["quantization_parameters"]
        self.scale = parameters["scales"].astype(np.float64)
        self.zero = int(parameters["zero_points"][0]) if len(parameters["zero_points"]) else 0


def multiply(accumulator: Integers, factor: NDArray[np.float64]) -> Integers:
    """Fixed point: a 31-bit mantissa, a doubling high product, a rounding shift."""
    mantissa, exponent = np.frexp(factor)
    m = np.rint(mantissa * 2**31).astype(np.int64)
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    x = accumulator << left
    product = x * m
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))  # towards zero, as in C
    remainder_mask = (1 << right) - 1
    threshold = (remainder_mask >> 1) + (high < 0)
    return (high >> right) + ((high & remainder_mask) > threshold)


def finish(node: Node, accumulator: Integers, weight: Values) -> Integers:
    """The accumulator of an output [..., channel] at the output's scale, clipped."""
    y = node.output
    factor = node.inputs[0].scale[0] * weight.scale / y.scale[0]
    q = multiply(accumulator, np.broadcast_to(factor, accumulator.shape[-1:])) + y.zero
    low, high = -128, 127
    if node.options.fusedActivationFunction in (RELU, RELU6):
        low = max(low, y.zero)
    if node.options.fusedActivationFunction == RELU6:
        high = min(high, y.zero + round(6 / y.scale[0]))
    return np.clip(q, low, high)


def windows(node: Node, height: int, width: int) -> Integers:
    """Patches of the input around zero [out height, out width, height, width, channel]."""
    x = node.inputs[0].q[0] - node.inputs[0].zero
    stride = node.options.strideH
    if node.options.padding == schema.Padding.SAME:
        total = [
            max(0, (-(-size // stride) - 1) * stride + kernel - size)
            for size, kernel in zip(x.shape, (height, width), strict=False)
        ]
        x = np.pad(x, [*((t // 2, t - t // 2) for t in total), (0, 0)])
    view = np.lib.stride_tricks.sliding_window_view(x, (height, width), (0, 1))
    return view[::stride, ::stride].transpose(0, 1, 3, 4, 2)


def convolution(node: Node) -> Integers:
    weight, bias = node.inputs[1], node.inputs[2]
    patches = windows(node, *weight.q.shape[1:3])
    return finish(node, np.einsum("abhwi,ohwi->abo", patches, weight.q) + bias.q, weight)[None]


def depthwise(node: Node) -> Integers:
    weight, bias = node.inputs[1], node.inputs[2]
    patches = windows(node, *weight.q.shape[1:3])
    return finish(node, np.einsum("abhwc,hwc->abc", patches, weight.q[0]) + bias.q, weight)[None]


def matrix(node: Node) -> Integers:
    weight, bias = node.inputs[1], node.inputs[2]
    return finish(node, (node.inputs[0].q - node.inputs[0].zero) @ weight.q.T + bias.q, weight)


def total(node: Node) -> Integers:
    real = sum((one.q - one.zero) * one.scale[0] for one in node.inputs)
    return np.clip(np.rint(real / node.output.scale[0]) + node.output.zero, -128, 127)


def mean(node: Node) -> Integers:
    x, y = node.inputs[0], node.output
    real = ((x.q - x.zero) * x.scale[0]).mean(tuple(int(axis) for axis in node.inputs[1].q))
    return np.clip(np.rint(real / y.scale[0]) + y.zero, -128, 127).reshape(y.q.shape)


REFERENCES = {
    "CONV_2D": convolution,
    "DEPTHWISE_CONV_2D": depthwise,
    "FULLY_CONNECTED": matrix,
    "ADD": total,
    "MEAN": mean,
}


def test_every_operator_computes_the_published_integers(int8: Path, converted: Converted) -> None:
    inside = Inside(int8)
    inside.run(converted.examples[0])
    model = schema.ModelT.InitFromPackedBuf(int8.read_bytes(), 0)
    (graph,) = model.subgraphs
    checked: dict[str, int] = {}
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        kind = OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
        if kind not in REFERENCES:
            continue
        node = Node(inside, graph, operator)
        off = np.abs(REFERENCES[kind](node) - node.output.q)
        assert off.max() <= 1, kind
        assert (off == 0).mean() > 0.98, kind
        assert np.ptp(node.output.q) > 20, kind  # something was computed
        checked[kind] = checked.get(kind, 0) + 1
    assert set(checked) == set(REFERENCES)
    assert checked["CONV_2D"] == 5 and checked["DEPTHWISE_CONV_2D"] == 2


def test_the_delegate_agrees_with_the_plain_kernels(int8: Path, converted: Converted) -> None:
    scale = Inside(int8)._details["serving_default_output_0_output"]["quantization"][0]
    for example in converted.examples[:8]:
        one, other = (
            Runtime(int8, delegate=delegate)(example)["output_0"]
            for delegate in ("xnnpack", "none")
        )
        assert np.abs(one - other).max() <= 3.01 * scale


@pytest.mark.parametrize("factor", [0.3, 1e-4, 1.7, 0.5])
def test_fixed_point_is_rounding_twice(factor: float) -> None:
    accumulator = np.arange(-4000, 4000, 7)
    got = multiply(accumulator, np.full(1, factor))
    assert np.abs(got - accumulator * factor).max() <= 0.75 + 1e-6
