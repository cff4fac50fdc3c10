"""How long one stored matrix takes in the TFLite runtime of this machine, one vector at a time.

The file is written directly (TFLite's schema) with the operators that the converter makes of
models/projections.py, because converting a network for every candidate takes seconds:

    [RESHAPE, GATHER_ND, RESHAPE,] FULLY_CONNECTED [, FULLY_CONNECTED]
"""

import tempfile
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from compress.rnn.forms import Shape
from device.runtime import Runtime

RUNS, ROUNDS = 50, 9  # the least mean of a round: other work on the machine only ever adds
Array = NDArray[Any]


@lru_cache(maxsize=4096)
def by_time(shape: Shape) -> float:
    """Microseconds; measured once for every shape."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "matrix.tflite"
        model.write_bytes(file(shape))
        runtime = Runtime(model)
        runtime.feed({"x": np.ones((1, shape.inputs), np.float32)})
        best = float("inf")
        for _ in range(ROUNDS):
            started = perf_counter()
            for _ in range(RUNS):
                runtime.invoke()
            best = min(best, (perf_counter() - started) / RUNS)
    return 1e6 * best


def file(shape: Shape) -> bytes:
    """A .tflite with input `x` [1, inputs] and output `y` [1, rows], and weights that are ones."""
    graph = _Graph()
    at = x = graph.tensor((1, shape.inputs))
    width = shape.inputs
    if shape.kept is not None:
        width = shape.kept
        columns = np.arange(width, dtype=np.int32)[:, None]
        flat, taken, row = (graph.tensor(s) for s in ((shape.inputs,), (width,), (1, width)))
        graph.reshape(at, flat, (shape.inputs,))
        graph.operator("GATHER_ND", [flat, graph.constant(columns)], taken, "GatherNdOptions")
        graph.reshape(taken, row, (1, width))
        at = row
    sizes = [(shape.rows, width)]
    if shape.rank is not None:
        sizes = [(shape.rank, width), (shape.rows, shape.rank)]
    for size in sizes:
        weight = graph.constant(np.ones(size, np.float32))
        y = graph.tensor((1, size[0]))
        graph.operator("FULLY_CONNECTED", [at, weight, -1], y, "FullyConnectedOptions")
        at = y
    return graph.written(x, at)


class _Graph:
    """A subgraph under construction."""

    def __init__(self) -> None:
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model = schema.ModelT()
        self.model.version, self.model.subgraphs = 3, [self.graph]
        self.model.operatorCodes, self.model.buffers = [], [schema.BufferT()]  # 0: no content

    def tensor(self, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32) -> int:
        made = schema.TensorT()
        made.name = f"t{len(self.graph.tensors)}".encode()
        made.shape, made.type, made.buffer = list(shape), kind, 0
        self.graph.tensors.append(made)
        return len(self.graph.tensors) - 1

    def constant(self, value: Array) -> int:
        integer = value.dtype == np.int32
        kind = schema.TensorType.INT32 if integer else schema.TensorType.FLOAT32
        index = self.tensor(value.shape, kind)
        content = schema.BufferT()
        content.data = np.frombuffer(value.tobytes(), np.uint8)
        self.graph.tensors[index].buffer = len(self.model.buffers)
        self.model.buffers.append(content)
        return index

    def operator(self, name: str, inputs: list[int], output: int, options: str) -> Any:
        code = schema.OperatorCodeT()
        number = getattr(schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = (
            len(self.model.operatorCodes),
            inputs,
            [output],
        )
        made.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        made.builtinOptions = getattr(schema, f"{options}T")()
        self.model.operatorCodes.append(code)
        self.graph.operators.append(made)
        return made.builtinOptions

    def reshape(self, source: int, target: int, shape: tuple[int, ...]) -> None:
        wanted = self.constant(np.array(shape, np.int32))
        self.operator("RESHAPE", [source, wanted], target, "ReshapeOptions").newShape = list(shape)

    def written(self, x: int, y: int) -> bytes:
        self.graph.inputs, self.graph.outputs = [x], [y]
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs, signature.outputs = [_named("x", x)], [_named("y", y)]
        self.model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _named(name: str, tensor: int) -> Any:
    made = schema.TensorMapT()
    made.name, made.tensorIndex = name.encode(), tensor
    return made
