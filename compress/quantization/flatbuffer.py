"""What stands in a .tflite file: operators, their tensors, and the layer each came from."""

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

# operators with weights, and which of their inputs those are
WEIGHTED = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "FULLY_CONNECTED": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D": (1,),
    "EMBEDDING_LOOKUP": (1,),
    "BATCH_MATMUL": (0, 1),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
}
VIEWS = ("DEQUANTIZE", "RESHAPE", "TRANSPOSE", "CAST")  # of a constant: still the same weight
BYTES = {"FLOAT64": 8, "INT64": 8, "FLOAT32": 4, "INT32": 4, "FLOAT16": 2, "INT16": 2}  # else 1
OPERATORS = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)
}
TYPES: dict[int, str] = {
    value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)
}
_PART = re.compile(r"^_*[A-Za-z0-9]+_(.+)$")  # Class_attribute
_WEIGHTED_CLASS = re.compile(r"(Conv[A-Za-z0-9]*|Linear|Embedding)_[^/]*$")


@dataclass(frozen=True)
class Tensor:
    """One tensor; `scales` and `zero_points` are empty where it is not quantized."""

    place: tuple[int, int]  # subgraph, index
    name: str
    shape: tuple[int, ...]
    type: str  # "INT8", "FLOAT32", …
    constant: bool  # stored in the file, not computed
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int  # along which there are several scales

    @property
    def values(self) -> int:
        """How many it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What the values take."""
        return self.values * BYTES.get(self.type, 1)


@dataclass(frozen=True)
class Operator:
    """One node; an optional input that is not given is None."""

    name: str  # "CONV_2D", …
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    origins: tuple[Tensor | None, ...]  # of each input: the constant behind it, None if computed

    @property
    def layer(self) -> str:
        """The layer of the network that its output was named after."""
        return layer(self.outputs[0].name)

    @property
    def weights(self) -> list[Tensor]:
        """The constants it takes as weights, also through a dequantization or a view."""
        places = (i for i in WEIGHTED.get(self.name, ()) if i < len(self.origins))
        return [origin for i in places if (origin := self.origins[i]) is not None]

    @property
    def flows(self) -> list[Tensor]:
        """Inputs and outputs that are computed while the model runs."""
        pairs = zip(self.inputs, self.origins, strict=True)
        arriving = [tensor for tensor, origin in pairs if tensor is not None and origin is None]
        return [*arriving, *self.outputs]


def read(path: Path) -> tuple[Operator, ...]:
    """Operators of all subgraphs, in the order of execution."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    found: list[Operator] = []
    for number, graph in enumerate(model.subgraphs):
        # not by the buffer's content: a large file keeps its buffers behind the flatbuffer
        computed = {int(i) for operator in graph.operators for i in operator.outputs}
        computed |= {int(i) for i in graph.inputs}
        tensors = [
            _tensor(tensor, (number, index), index not in computed)
            for index, tensor in enumerate(graph.tensors)
        ]
        origins: dict[int, Tensor | None] = {
            index: tensor for index, tensor in enumerate(tensors) if tensor.constant
        }
        for operator in graph.operators:
            name = OPERATORS[codes[operator.opcodeIndex]]
            inputs = tuple(int(i) for i in operator.inputs)
            if name in VIEWS and inputs[0] in origins:
                origins |= {int(i): origins[inputs[0]] for i in operator.outputs}
            found.append(
                Operator(
                    name,
                    tuple(tensors[i] if i >= 0 else None for i in inputs),
                    tuple(tensors[i] for i in operator.outputs),
                    tuple(origins.get(i) for i in inputs),
                )
            )
    return tuple(found)


def layer(name: str) -> str:
    """The path of a module from a tensor's name.

    The converter names tensors `a.Net/b.Block_blocks/c.Conv2d_conv;;…;1`: every module that made
    it, by class and attribute. Of several the one with weights counts, else the last.
    """
    paths = [path for path in name.split(";") if "/" in path]
    chosen = next((path for path in paths if _WEIGHTED_CLASS.search(path)), None)
    if chosen is None:
        if not paths:
            return name.removeprefix("serving_default_").removesuffix("_output")
        chosen = paths[0]
    parts = [part.rpartition(".")[2] for part in chosen.split("/")[1:]]
    matches = [(_PART.match(part), part) for part in parts]
    return ".".join(match[1] if match else part for match, part in matches)


def _tensor(tensor: Any, place: tuple[int, int], constant: bool) -> Tensor:
    quantization = tensor.quantization
    scales = [] if quantization is None or quantization.scale is None else quantization.scale
    zeros = [] if quantization is None or quantization.zeroPoint is None else quantization.zeroPoint
    return Tensor(
        place=place,
        name=tensor.name.decode(errors="replace"),
        shape=tuple(int(size) for size in ([] if tensor.shape is None else tensor.shape)),
        type=TYPES[tensor.type],
        constant=constant,
        scales=tuple(float(scale) for scale in scales),
        zero_points=tuple(int(zero) for zero in zeros),
        axis=0 if quantization is None else int(quantization.quantizedDimension),
    )
