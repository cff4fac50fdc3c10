"""The audit finds what a converter left as it was, wherever it hides."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from compress.quantization import SCHEMES, check, flatbuffer, inspect
from device.errors import FieldwrenError
from tests.compress.quantization.conftest import Converted

STATIC, DYNAMIC = SCHEMES["static-int8"], SCHEMES["dynamic-int8"]


def _changed(source: Path, target: Path, change: Callable[[Any, Any], None]) -> Path:
    """A copy of a file after `change(model, graph)`."""
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    target.write_bytes(builder.Output())
    return target


def _weight(model: Any, graph: Any, kind: str) -> Any:
    code = next(v for v, name in flatbuffer.OPERATORS.items() if name == kind)
    for operator in graph.operators:
        if model.operatorCodes[operator.opcodeIndex].builtinCode == code:
            return graph.tensors[operator.inputs[1]]
    raise AssertionError(kind)


def test_a_good_file_passes_and_lists_its_layers(int8: Path, converted: Converted) -> None:
    found = check(int8, STATIC)
    assert found.weights == {"INT8": 8} and len(found.layers) == 8
    assert found.floating == ()
    assert set(found.constants) == {"INT8", "INT32"}
    stem, answer = found.layers[0], found.layers[-1]
    assert (stem.name, stem.operator) == ("net.layers.0.conv", "CONV_2D")
    assert (stem.weight, stem.scales, stem.bias) == ("INT8", 16, "INT32")
    assert (stem.input, stem.output, stem.bytes) == ("INT8", "INT8", 16 * 27 + 4 * 16)
    assert answer.operator == "FULLY_CONNECTED"
    names = [layer.name for layer in found.layers]
    assert "net.layers.1.depthwise.conv" in names and len(set(names)) == 8
    plain = inspect(converted.plain)
    assert set(plain.weights) == {"FLOAT32"} and set(plain.constants) == {"FLOAT32", "INT32"}
    assert len(plain.floating) == sum(plain.operators.values())


def test_a_weight_that_stayed_float_is_named(converted: Converted, int8: Path) -> None:
    with pytest.raises(FieldwrenError, match=r"CONV_2D as FLOAT32: net\.layers\.0\.conv"):
        check(converted.plain, STATIC)
    spared = frozenset(o.outputs[0].name for o in flatbuffer.read(converted.plain))
    assert check(converted.plain, STATIC, spared).weights == {"FLOAT32": 8}


def test_a_weight_behind_a_dequantization_is_seen(converted: Converted, tmp_path: Path) -> None:
    """float16 constants that are turned into float32 before every layer pass no int8 audit."""
    half = converted.quantized(tmp_path / "half.tflite", "fp16")
    assert inspect(half).weights == {"FLOAT16": 8}
    assert {layer.bias for layer in inspect(half).layers} == {"FLOAT32"}
    with pytest.raises(FieldwrenError, match="CONV_2D as FLOAT16"):
        check(half, DYNAMIC)


def test_int8_weights_with_float_activations_are_not_static(
    converted: Converted, tmp_path: Path
) -> None:
    dynamic = converted.quantized(tmp_path / "dynamic.tflite", "dynamic-int8")
    assert check(dynamic, DYNAMIC).weights == {"INT8": 8}
    with pytest.raises(FieldwrenError, match=r"left a constant of|computing with FLOAT32"):
        check(dynamic, STATIC)


def _zero_scale(model: Any, graph: Any) -> None:
    tensor = _weight(model, graph, "CONV_2D")
    tensor.quantization.scale = np.zeros_like(tensor.quantization.scale)


def _few_scales(model: Any, graph: Any) -> None:
    tensor = _weight(model, graph, "DEPTHWISE_CONV_2D")
    tensor.quantization.scale = tensor.quantization.scale[:3]
    tensor.quantization.zeroPoint = tensor.quantization.zeroPoint[:3]


def _offset(model: Any, graph: Any) -> None:
    tensor = _weight(model, graph, "FULLY_CONNECTED")
    tensor.quantization.zeroPoint = tensor.quantization.zeroPoint + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_zero_scale, "no positive number to the weight of a CONV_2D"),
        (_few_scales, r"3 scales to \d+ channels in the weight of a DEPTHWISE_CONV_2D"),
        (_offset, "a zero point to the weight of a FULLY_CONNECTED"),
    ],
)
def test_broken_scales_are_refused(
    int8: Path, tmp_path: Path, change: Callable[[Any, Any], None], message: str
) -> None:
    with pytest.raises(FieldwrenError, match=message):
        check(_changed(int8, tmp_path / "x.tflite", change), STATIC)


def _reading(shape: list[int], operator: str = "ADD") -> Callable[[Any, Any], None]:
    """The second operand of a sum turned into a float constant, the sum into another operator."""
    numbers = {name: value for value, name in flatbuffer.OPERATORS.items()}

    def change(model: Any, graph: Any) -> None:
        codes = model.operatorCodes
        add = next(i for i, code in enumerate(codes) if code.builtinCode == numbers["ADD"])
        changed = next(o for o in graph.operators if o.opcodeIndex == add)
        codes[add].builtinCode = codes[add].deprecatedBuiltinCode = numbers[operator]
        tensor = schema.TensorT()
        tensor.name, tensor.shape = b"loose", shape
        tensor.type, tensor.buffer = schema.TensorType.FLOAT32, 0
        graph.tensors.append(tensor)
        changed.inputs = [changed.inputs[0], len(graph.tensors) - 1]

    return change


def test_a_float_operand_of_an_integer_model_is_refused(int8: Path, tmp_path: Path) -> None:
    """No weight, but no integer."""
    with pytest.raises(FieldwrenError, match=r"left a constant of ADD .*: take dynamic-int8"):
        check(_changed(int8, tmp_path / "x.tflite", _reading([4])), STATIC)


def test_a_float_table_that_is_gathered_from_is_refused(
    converted: Converted, tmp_path: Path
) -> None:
    """GATHER has no weight, but may read the largest matrix of all."""
    dynamic = converted.quantized(tmp_path / "dynamic.tflite", "dynamic-int8")
    with pytest.raises(FieldwrenError, match=r"left a constant of GATHER .* 100 × 48 values"):
        check(_changed(dynamic, tmp_path / "x.tflite", _reading([100, 48], "GATHER")), DYNAMIC)
    for small in (_reading([1, 4800], "MUL"), _reading([32, 32])):  # scales, a bias
        check(_changed(dynamic, tmp_path / "x.tflite", small), DYNAMIC)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "a.b.Deploy/m.ResNet_net/torch.nn.Sequential_stem/torch.nn.conv.Conv2d_conv;1",
            "net.stem.conv",
        ),
        (
            "x.Net/t.ReLU_act;;x.Net/t.BatchNorm2d_norm;;x.Net/b._Layer_3/t.Conv1d_expand;",
            "3.expand",
        ),
        ("x.Net/y.Block_2;1", "2"),
        ("serving_default_output_0_output", "output_0"),
    ],
)
def test_layers_are_found_in_the_converters_names(name: str, expected: str) -> None:
    assert flatbuffer.layer(name) == expected
