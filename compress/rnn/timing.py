"""How long the stored matrices of one side of a layer take in the TFLite runtime of this machine.

The file is written directly (TFLite's schema) with the operators that the converter makes of
models/projections.py, because converting a network for every candidate takes seconds. For each
matrix

    [RESHAPE, GATHER_ND, RESHAPE,] FULLY_CONNECTED [, FULLY_CONNECTED]      of one vector
    [TRANSPOSE, GATHER_ND, TRANSPOSE,] FULLY_CONNECTED [, FULLY_CONNECTED]  of several at once

where the first operator is there once for all gathers, and behind several a CONCATENATION.
"""

import tempfile
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import flatbuffers  # type: ignore[import-untyped]
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray
from torch import nn

from compress import distributed, export, quantization
from compress.rnn.forms import Shape, shape_of
from compress.steps import Quantize
from device.runtime import Runtime
from models.projections import Projection

RUNS, ROUNDS = 50, 9  # the least mean of a round: other work on the machine only ever adds
Array = NDArray[Any]
Scheme = Literal["fp32", "dynamic-int8", "static-int8"]


def by_time(shapes: Sequence[Shape], vectors: int = 1, scheme: Scheme = "fp32") -> float:
    """Microseconds of one invocation with so many vectors; measured once for the same shapes.

    Of several processes, which ask for the same in the same order, the least that one measured.
    """
    return _measured(tuple(shapes), vectors, scheme)


def milliseconds(net: nn.Module, names: Iterable[str], vectors: int, scheme: Scheme) -> float:
    """Of matrices of a network, one after the other; linear layers have one, too."""
    sides = [net.get_submodule(name) for name in names]
    shapes = [
        [Shape(side.out_features, side.in_features, None, None)]
        if isinstance(side, nn.Linear)
        else [shape_of(part) for part in side.parts]
        for side in sides
        if isinstance(side, nn.Linear | Projection)
    ]
    return sum(by_time(own, vectors, scheme) for own in shapes) / 1e3


@lru_cache(maxsize=4096)
def _measured(shapes: tuple[Shape, ...], vectors: int, scheme: Scheme) -> float:
    x = np.ones((vectors, shapes[0].inputs), np.float32)
    with tempfile.TemporaryDirectory() as folder:
        plain, model = Path(folder) / "plain.tflite", Path(folder) / "side.tflite"
        plain.write_bytes(file(shapes, vectors))
        numbers = Quantize(kind="quantize", scheme=scheme)
        with export.silent():
            quantization.quantize(plain, numbers, [{"x": x}], model)
        runtime = Runtime(model)
        runtime.feed({"x": x})
        best = float("inf")
        for _ in range(ROUNDS):
            started = perf_counter()
            for _ in range(RUNS):
                runtime.invoke()
            best = min(best, (perf_counter() - started) / RUNS)
    return float(distributed.least(np.array(1e6 * best)))


def file(shapes: Sequence[Shape], vectors: int = 1) -> bytes:
    """A .tflite of one side's matrices, all of whose weights are ones.

    Input `x` [vectors, inputs], output `y` [vectors, rows of all matrices].
    """
    graph, inputs = _Graph(), shapes[0].inputs
    x = graph.tensor((vectors, inputs))
    turned = None  # once for all gathers
    products = []
    for shape in shapes:
        at, width = x, inputs
        if shape.kept is not None:
            width = shape.kept
            turned = graph.entries_first(x, inputs, vectors) if turned is None else turned
            columns = graph.constant(np.arange(width, dtype=np.int32)[:, None])
            taken = graph.tensor((width,) if vectors == 1 else (width, vectors))
            graph.operator("GATHER_ND", [turned, columns], taken, "GatherNdOptions")
            at = graph.entries_last(taken, width, vectors)
        sizes = [(shape.rows, width)]
        if shape.rank is not None:
            sizes = [(shape.rank, width), (shape.rows, shape.rank)]
        for size in sizes:
            weight = graph.constant(np.ones(size, np.float32))
            y = graph.tensor((vectors, size[0]))
            graph.operator("FULLY_CONNECTED", [at, weight, -1], y, "FullyConnectedOptions")
            at = y
        products.append(at)
    if len(products) == 1:
        return graph.written(x, products[0])
    joined = graph.tensor((vectors, sum(shape.rows for shape in shapes)))
    graph.operator("CONCATENATION", products, joined, "ConcatenationOptions").axis = 1
    return graph.written(x, joined)


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

    def entries_first(self, source: int, width: int, vectors: int) -> int:
        """[vectors, width] → [width, vectors]; of one vector [width]."""
        return self._turned(source, (width,) if vectors == 1 else (width, vectors), vectors)

    def entries_last(self, source: int, width: int, vectors: int) -> int:
        """The other way."""
        return self._turned(source, (vectors, width), vectors)

    def _turned(self, source: int, shape: tuple[int, ...], vectors: int) -> int:
        target = self.tensor(shape)
        if vectors == 1:
            wanted = self.constant(np.array(shape, np.int32))
            options = self.operator("RESHAPE", [source, wanted], target, "ReshapeOptions")
            options.newShape = list(shape)
        else:
            axes = self.constant(np.array((1, 0), np.int32))
            self.operator("TRANSPOSE", [source, axes], target, "TransposeOptions")
        return target

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
