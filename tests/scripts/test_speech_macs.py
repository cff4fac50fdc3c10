"""Multiply-accumulates read from files: those of our bundles, and of a graph counted by hand."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from device.errors import BadInputError
from scripts import speech_macs, speech_onnx

ZOO = Path(__file__).parents[2] / "models" / "zoo"


@pytest.mark.parametrize("name", ["enhancer-tcn", "enhancer-bands", "enhancer-fullsubnet"])
def test_files_of_bundles_multiply_what_their_networks_do(name: str) -> None:
    manifest = json.loads((ZOO / name / "manifest.json").read_text())
    assert speech_macs.of_tflite(ZOO / name / "model.tflite") == manifest["result"]["macs"]


def test_an_operator_of_tflite_that_is_not_counted_is_named() -> None:
    with pytest.raises(BadInputError, match=r"model\.tflite: DEPTHWISE_CONV_2D multiplies, but"):
        speech_macs.of_tflite(ZOO / "birds-baseline" / "model.tflite")


@pytest.mark.parametrize("kind", ["Gemm", "LSTM", "RNN"])
def test_an_operator_of_onnx_that_is_not_counted_is_named(kind: str) -> None:
    graph = SimpleNamespace(name="peer", node=[SimpleNamespace(op_type=kind)])
    with pytest.raises(BadInputError, match=f"graph peer: {kind} multiplies, but is not counted"):
        speech_macs.of_onnx(SimpleNamespace(graph=graph), pytest.fail)


def test_a_graph_of_onnx_counted_by_hand() -> None:
    """A frame [1, 2, 1, 8] through each operator; the time axis is open, a weight a constant."""
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    make, numbers = onnx.helper, onnx.numpy_helper

    def weights(name: str, *shape: int) -> Any:
        return numbers.from_array(np.ones(shape, np.float32), name)

    shapes = numbers.from_array(np.array([1, 1, 12], np.int64), "rows")
    nodes = [
        make.make_node("Conv", ["x", "conv"], ["a"], strides=[1, 2], group=2),  # [1, 4, t, 3]
        make.make_node("ConvTranspose", ["a", "transposed"], ["b"]),  # [1, 3, t, 4]
        make.make_node("Reshape", ["b", "rows"], ["c"]),  # [1, 1, 12]
        make.make_node("GRU", ["c", "gru_w", "gru_r"], ["", "d"], hidden_size=5),  # [1, 1, 5]
        make.make_node("Constant", [], ["matrix"], value=weights("", 5, 6)),
        make.make_node("MatMul", ["d", "matrix"], ["e"]),  # [1, 1, 6]
        make.make_node("Einsum", ["e", "grouped"], ["y"], equation="bti,ih->bth"),  # [1, 1, 7]
    ]
    floating = onnx.TensorProto.FLOAT
    graph = make.make_graph(
        nodes,
        "one of each",
        [make.make_tensor_value_info("x", floating, [1, 2, "t", 8])],
        [make.make_tensor_value_info("y", floating, [1, 1, 7])],
        [
            weights("conv", 4, 1, 1, 3),
            weights("transposed", 4, 3, 1, 2),
            weights("gru_w", 1, 15, 12),
            weights("gru_r", 1, 15, 5),
            weights("grouped", 6, 7),
            shapes,
        ],
    )
    opset = [make.make_opsetid("", 13)]
    model = make.make_model(graph, opset_imports=opset, ir_version=8)
    by_hand = 12 * 3, 12 * 3 * 2, 15 * (12 + 5), 5 * 6, 6 * 7
    assert speech_onnx.macs(model) == sum(by_hand)
    assert speech_onnx.nodes(model) == 6
    assert speech_onnx.parameters(model) == 12 + 24 + 180 + 75 + 30 + 42
