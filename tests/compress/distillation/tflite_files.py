"""A small .tflite, written operator by operator."""

import flatbuffers  # type: ignore[import-untyped]
import numpy as np

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
