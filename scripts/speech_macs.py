"""Multiply-accumulates of peers' files in one invocation, from the shapes in them.

    convolution              outputs × weights of one output
    transposed convolution   inputs × weights of one input, cropped outputs among them
    matrix product           outputs × length of one product
    recurrent layer          steps × batch × weights
    Einstein sum             product of all its indices' sizes

As for our own networks (compress/count.py), what is element-wise does not count. Other products
are refused: as zero they would go unnoticed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from device import errors

Shape = Sequence[int]

TFLITE = (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED)  # DTLN has these
ONNX: Mapping[str, Callable[[Any, Sequence[Shape], Shape], int]] = {
    "Conv": lambda node, given, made: math.prod(made) * math.prod(given[1][1:]),
    "ConvTranspose": lambda node, given, made: math.prod(given[0]) * math.prod(given[1][1:]),
    "MatMul": lambda node, given, made: math.prod(made) * given[0][-1],
    "GRU": lambda node, given, made: math.prod(given[0][:2]) * sum(map(math.prod, given[1:3])),
    "Einsum": lambda node, given, made: _einsum(node.attribute[0].s.decode(), given),
}
"""Operators that multiply in peers' files: node, shapes of inputs and of the first output."""
TFLITE_UNCOUNTED = {
    value: name
    for name, value in vars(schema.BuiltinOperator).items()
    if name in ("DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "BATCH_MATMUL", "SVDF")
    or name.startswith("CONV_3D")
    or name.endswith(("RNN", "LSTM"))
}
ONNX_UNCOUNTED = (
    "Attention",
    "ConvInteger",
    "DeformConv",
    "Gemm",
    "LSTM",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
)


def of_tflite(file: Path) -> int:
    """Of fully connected layers and convolutions.

    Raises:
        BadInputError: another operator multiplies.
    """
    model = schema.ModelT.InitFromPackedBuf(file.read_bytes(), 0)
    kinds = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    _all_counted(str(file), [TFLITE_UNCOUNTED[kind] for kind in kinds if kind in TFLITE_UNCOUNTED])
    total = 0
    for graph in model.subgraphs:
        for node in graph.operators:
            if kinds[node.opcodeIndex] in TFLITE:
                weights, made = (graph.tensors[i].shape for i in (node.inputs[1], node.outputs[0]))
                total += math.prod(map(int, made)) * math.prod(map(int, weights[1:]))
    return total


def of_onnx(model: Any, session: Callable[[bytes], Any]) -> int:
    """Of an onnx.ModelProto that hears one frame: every open axis has length one.

    Many files hold no shapes but those of their weights, so the model is run, on zeros.

    Args:
        session: makes an ONNX Runtime session of a model's content.

    Raises:
        BadInputError: an operator multiplies that is not counted.
    """
    kinds = [node.op_type for node in model.graph.node]
    _all_counted(f"graph {model.graph.name}", [kind for kind in kinds if kind in ONNX_UNCOUNTED])
    graph, counted = model.graph, [node for node in model.graph.node if node.op_type in ONNX]
    shapes: dict[str, Shape] = {one.name: one.dims for one in graph.initializer}
    constants = [node for node in graph.node if node.op_type == "Constant"]
    shapes |= {node.output[0]: node.attribute[0].t.dims for node in constants}
    fed = {one.name for one in graph.input}
    named = {name for node in counted for name in (*node.input, node.output[0]) if name}
    wanted = sorted(named - shapes.keys() - fed)
    seen = type(model).FromString(model.SerializeToString())
    for name in set(wanted) - {one.name for one in graph.output}:
        seen.graph.output.add(name=name)
    run = session(seen.SerializeToString())
    feed = {
        one.name: np.zeros([n if isinstance(n, int) else 1 for n in one.shape], np.float32)
        for one in run.get_inputs()
    }
    shapes |= {name: value.shape for name, value in feed.items()}
    found = run.run(wanted, feed)
    shapes |= {name: value.shape for name, value in zip(wanted, found, strict=True)}
    return sum(
        ONNX[node.op_type](
            node, [shapes.get(name, ()) for name in node.input], shapes.get(node.output[0], ())
        )
        for node in counted
    )


def _all_counted(where: str, kinds: Sequence[str]) -> None:
    if kinds:
        raise errors.BadInputError(
            f"{where}: {kinds[0]} multiplies, but is not counted: add it to scripts/speech_macs.py"
        )


def _einsum(equation: str, given: Sequence[Shape]) -> int:
    """`btgi,gih->btgh` → b·t·g·i·h."""
    terms = equation.replace(" ", "").partition("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, given, strict=True):
        sizes |= dict(zip(term, shape, strict=True))
    return math.prod(sizes.values())
