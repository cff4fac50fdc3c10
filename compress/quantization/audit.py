"""The audit of a deployed file: what numbers every layer really has.

A converter that meets something it cannot quantize leaves it as it was and says nothing. So the
whole file is walked: a scheme's promise is held against every operator and every constant.
"""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from compress.quantization import flatbuffer
from compress.quantization.flatbuffer import Operator, Tensor
from compress.quantization.schemes import HALVED, ONE_SCALE, Scheme
from device.errors import FieldwrenError

ENDS = ("QUANTIZE", "DEQUANTIZE")  # may have a float on one side
FLOATS = ("FLOAT32", "FLOAT16", "FLOAT64")
SUMS = ("ADD", "SUB")  # what they add is a bias, and biases stay float where activations do
INSTEAD = ": take dynamic-int8, which leaves activations float"
TABLE = 1024  # values with two axes: a matrix, whatever reads it


@dataclass(frozen=True)
class Layer:
    """An operator with a weight; types as in the file."""

    name: str
    operator: str
    weight: str
    scales: int  # 0 not quantized, 1 per tensor, else one a channel
    bias: str | None
    input: str
    output: str
    bytes: int  # of weight and bias


@dataclass(frozen=True)
class Audit:
    """What a .tflite file is made of."""

    operators: dict[str, int]
    weights: dict[str, int]  # type → how many weight tensors
    layers: tuple[Layer, ...]
    constants: dict[str, int]  # type → bytes of all constants, weights or not
    floating: tuple[str, ...]  # operators that compute in float, "CONV_2D stem.conv"


def inspect(path: Path) -> Audit:
    """List operators, weights and constants."""
    operators = flatbuffer.read(path)
    layers = [_layer(operator, weight) for operator in operators for weight in operator.weights]
    stored = {tensor for operator in operators for tensor in operator.inputs if _stored(tensor)}
    constants = Counter[str]()
    for tensor in stored:
        assert tensor is not None
        constants[tensor.type] += tensor.bytes
    return Audit(
        operators=dict(Counter(operator.name for operator in operators)),
        weights=dict(Counter(layer.weight for layer in layers)),
        layers=tuple(layers),
        constants=dict(constants),
        floating=tuple(f"{o.name} {o.layer}" for o in operators if _floating(o)),
    )


def check(path: Path, scheme: Scheme, spared: frozenset[str] = frozenset()) -> Audit:
    """The audit of a file that claims a scheme; outputs named in `spared` may have more bits.

    Raises:
        FieldwrenError: a weight has other numbers than the scheme says, scales are broken, a
            matrix that no weighted operator reads stayed float, or, in a static scheme, a layer
            computes in float; the message names it.
    """
    operators = flatbuffer.read(path)
    for operator in operators:
        if operator.outputs[0].name in spared:
            continue
        for weight in operator.weights:
            _check_weight(operator, weight, scheme)
        if scheme.calibrated:
            _check_integers(operator, scheme, spared)
        elif scheme.weights == "INT8":
            _check_tables(operator)
    return inspect(path)


def _check_weight(operator: Operator, weight: Tensor, scheme: Scheme) -> None:
    where = f"the weight of a {operator.name} as {weight.type}: {operator.layer}"
    if weight.type != scheme.weights:
        halved = scheme.weights != "FLOAT16" or operator.name in HALVED
        instead = "" if halved else ", which has no float16 weights: take dynamic-int8 or fp32"
        raise FieldwrenError(f"quantization left {where}{instead}")
    if weight.type != "INT8":
        return
    channels = weight.shape[weight.axis]
    if len(weight.scales) not in (1, channels):
        raise FieldwrenError(
            f"quantization gave {len(weight.scales)} scales to {channels} channels in {where}"
        )
    if scheme.calibrated and operator.name in ONE_SCALE and len(weight.scales) > 1:
        raise FieldwrenError(
            f"quantization gave {len(weight.scales)} scales to {where}: its kernel reads one"
        )
    if not all(math.isfinite(scale) and scale > 0 for scale in weight.scales):
        raise FieldwrenError(f"quantization gave a scale that is no positive number to {where}")
    if any(weight.zero_points):
        raise FieldwrenError(f"quantization gave a zero point to {where}: kernels expect none")


def _check_tables(operator: Operator) -> None:
    """Rows of a table that are gathered have no kernel for int8 weights, and stay float."""
    if operator.name in (*flatbuffer.VIEWS, *SUMS):
        return
    for tensor in operator.origins:
        if tensor is None or tensor.type not in FLOATS or tensor.values < TABLE:
            continue
        if sum(size > 1 for size in tensor.shape) > 1:
            raise FieldwrenError(
                f"quantization left a constant of {operator.name} {operator.layer} as "
                f"{tensor.type}: {' × '.join(map(str, tensor.shape))} values"
            )


def _check_integers(operator: Operator, scheme: Scheme, spared: frozenset[str]) -> None:
    """An operator of a static scheme has nothing to do with floats."""
    if operator.name in ENDS:
        return
    what = f"{operator.name} {operator.layer}"
    for tensor in operator.origins:
        if tensor is not None and tensor.type in FLOATS and tensor.values > 1:
            raise FieldwrenError(
                f"quantization left a constant of {what} as {tensor.type}{INSTEAD}"
            )
    if operator.name not in flatbuffer.WEIGHTED:
        return
    for tensor in operator.flows:
        if tensor.type in FLOATS and tensor.name not in spared:
            raise FieldwrenError(
                f"quantization left {what} computing with {tensor.type} where "
                f"{scheme.activations} is wanted{INSTEAD}"
            )


def _floating(operator: Operator) -> bool:
    return operator.name not in ENDS and any(tensor.type in FLOATS for tensor in operator.flows)


def _stored(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.constant


def _layer(operator: Operator, weight: Tensor) -> Layer:
    others = [origin for origin in operator.origins if origin is not None and origin != weight]
    bias = next((t for t in others if len(t.shape) == 1 and t.values > 1), None)
    return Layer(
        name=operator.layer,
        operator=operator.name,
        weight=weight.type,
        scales=len(weight.scales),
        bias=None if bias is None else bias.type,
        input=operator.flows[0].type,
        output=operator.outputs[0].type,
        bytes=weight.bytes + (0 if bias is None else bias.bytes),
    )
