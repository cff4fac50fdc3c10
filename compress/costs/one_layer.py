"""One layer as a .tflite file, written straight to TFLite's schema.

A latency table needs hundreds of layers, and the converter takes a second for each. The operator
is the one the converter makes of the same layer; weights are random, for zeros could be special.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

VERSION, IDENTIFIER = 3, b"TFL3"
OPERATORS = {
    "dense": (schema.BuiltinOperator.CONV_2D, schema.BuiltinOptions.Conv2DOptions),
    "depthwise": (
        schema.BuiltinOperator.DEPTHWISE_CONV_2D,
        schema.BuiltinOptions.DepthwiseConv2DOptions,
    ),
    "linear": (schema.BuiltinOperator.FULLY_CONNECTED, schema.BuiltinOptions.FullyConnectedOptions),
}


@dataclass(frozen=True)
class Form:
    """A layer but for its numbers of channels."""

    kind: Literal["dense", "depthwise", "linear"]
    extent: tuple[int, int]  # of the input: height and width; rows and 1 for linear
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padded: bool = False  # output as large as input / stride
    groups: int = 1  # of a dense layer


def write(path: Path, form: Form, inputs: int, outputs: int) -> None:
    """Write the layer for these numbers of channels; depthwise ones have outputs alone."""
    height, width = form.extent
    if form.kind == "linear":
        shapes = [(height, inputs), (outputs, inputs), (outputs,), (height, outputs)]
    else:
        inputs = outputs if form.kind == "depthwise" else inputs
        weights = {
            "dense": (outputs, *form.kernel, inputs // form.groups),
            "depthwise": (1, *form.kernel, outputs),
        }[form.kind]
        after = [_length(form, axis) for axis in (0, 1)]
        shapes = [(1, height, width, inputs), weights, (outputs,), (1, *after, outputs)]
    random = np.random.default_rng(0)
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.buffers = VERSION, [graph], [schema.BufferT()]
    graph.tensors = []
    for index, shape in enumerate(shapes):
        constant = index in (1, 2)
        values = random.standard_normal(shape).astype(np.float32) if constant else None
        graph.tensors.append(_tensor(model, f"t{index}", shape, values))
    graph.inputs, graph.outputs = [0], [3]
    builtin, options = OPERATORS[form.kind]
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode = code.deprecatedBuiltinCode = builtin
    code.version = 1
    operator.opcodeIndex, operator.inputs, operator.outputs = 0, [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = options, _options(form)
    graph.operators, model.operatorCodes = [operator], [code]
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = "serving_default", 0
    signature.inputs, signature.outputs = [_named("args_0", 0)], [_named("output_0", 3)]
    model.signatureDefs = [signature]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    path.write_bytes(bytes(builder.Output()))


def _length(form: Form, axis: int) -> int:
    size, stride = form.extent[axis], form.stride[axis]
    if form.padded:
        return -(-size // stride)
    return (size - form.dilation[axis] * (form.kernel[axis] - 1) - 1) // stride + 1


def _tensor(
    model: schema.ModelT, name: str, shape: tuple[int, ...], values: NDArray[np.float32] | None
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), schema.TensorType.FLOAT32
    tensor.buffer = 0  # the empty one
    if values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.tobytes(), np.uint8)
        tensor.buffer = len(model.buffers)
        model.buffers.append(buffer)
    return tensor


def _options(form: Form) -> object:
    if form.kind == "linear":
        return schema.FullyConnectedOptionsT()
    depthwise = form.kind == "depthwise"
    options = schema.DepthwiseConv2DOptionsT() if depthwise else schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME if form.padded else schema.Padding.VALID
    options.strideH, options.strideW = form.stride
    options.dilationHFactor, options.dilationWFactor = form.dilation
    if depthwise:
        options.depthMultiplier = 1
    return options


def _named(name: str, index: int) -> schema.TensorMapT:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
