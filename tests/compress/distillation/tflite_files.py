"""A small .tflite, written operator by operator."""

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from compress.rnn.timing import _Graph


def double(shape: tuple[int, ...] = (1, -1)) -> bytes:
    """x → 2·x; a size of −1 may be any."""
    graph = _Graph()
    sizes = tuple(abs(size) for size in shape)
    x, y = graph.tensor(sizes), graph.tensor(sizes)
    for tensor in graph.graph.tensors:
        tensor.shapeSignature = list(shape)
    graph.operator("ADD", [x, x], y, "AddOptions")
    return graph.written(x, y)


def constant() -> bytes:
    """No input → two."""
    graph = _Graph()
    one, y = graph.constant(np.ones((1, 1), np.float32)), graph.tensor((1, 1))
    graph.operator("ADD", [one, one], y, "AddOptions")
    graph.graph.inputs, graph.graph.outputs = [], [y]
    builder = flatbuffers.Builder(1 << 10)
    builder.Finish(graph.model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def colours(*shape: int, softmax: bool = False) -> bytes:
    """uint8 pictures [batch, height, width, colours] → the mean of each colour less 100."""
    graph = _Graph()
    x, pixels = graph.tensor(shape, schema.TensorType.UINT8), graph.tensor(shape)
    means, y = (graph.tensor((shape[0], shape[3])) for _ in range(2))
    cast = graph.operator("CAST", [x], pixels, "CastOptions")
    cast.inDataType, cast.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    axes = graph.constant(np.array([1, 2], np.int32))
    graph.operator("MEAN", [pixels, axes], means, "ReducerOptions")
    less = graph.constant(np.full((1, shape[3]), 100, np.float32))
    graph.operator("SUB", [means, less], y, "SubOptions")
    if softmax:
        y, logits = graph.tensor((shape[0], shape[3])), y
        graph.operator("SOFTMAX", [logits], y, "SoftmaxOptions").beta = 0.01
    return graph.written(x, y)
