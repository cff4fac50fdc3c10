"""Enhancers from files teach by sound; one of another rate or length is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema

from compress.distillation import teachers
from compress.rnn.forms import Shape
from compress.rnn.timing import _Graph, file
from device import bundle
from device.errors import BadInputError
from device.manifest import SpectrumInput
from tests.compress.distillation import onnx_files, tflite_files


def _noisy(length: int = 50) -> torch.Tensor:
    return torch.randn(3, length, generator=torch.Generator().manual_seed(0))


def test_a_bundle_of_another_rate_is_refused(enhancer: Path) -> None:
    front = bundle.read(enhancer).manifest.preprocessing
    assert isinstance(front, SpectrumInput)
    teachers.enhancer(enhancer, front.rate)
    with pytest.raises(BadInputError, match=f"hears {front.rate} Hz, the student 8000"):
        teachers.enhancer(enhancer, 8000)


def test_an_onnx_answers_with_sound(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    path = tmp_path / "double.onnx"
    for shape in (["a", "b", "t"], ["b", "t"], [1, "t"], ["t"]):
        path.write_bytes(onnx_files.chain("Add", shape=shape))
        torch.testing.assert_close(teachers.enhancer(path, 16000)(_noisy()), 2 * _noisy())
    path.write_bytes(onnx_files.chain("Add", shape=[1, 1, 50]))
    teacher = teachers.enhancer(path, 100)
    torch.testing.assert_close(teacher(_noisy()), 2 * _noisy())
    with pytest.raises(BadInputError, match=r"50 samples at once and hears 40: set .* to 0\.5,"):
        teacher(_noisy(40))
    path.write_bytes(b"no model")
    with pytest.raises(BadInputError, match="not a usable ONNX model"):
        teachers.enhancer(path, 16000)
    path.write_bytes(onnx_files.chain("Add", shape=[2, "t"]))
    with pytest.raises(BadInputError, match=r"double\.onnx: a teacher takes one waveform"):
        teachers.enhancer(path, 16000)


def test_a_tflite_of_one_length_answers_with_sound(tmp_path: Path) -> None:
    path = tmp_path / "sum.tflite"
    path.write_bytes(file([Shape(50, 50, None, None)]))  # every sample is the sum of all
    teacher = teachers.enhancer(path, 100)
    expected = _noisy().sum(1, keepdim=True).expand(3, 50)
    torch.testing.assert_close(teacher(_noisy()), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(BadInputError, match=r"50 samples at once and hears 40: set .* to 0\.5,"):
        teacher(_noisy(40))


def test_a_tflite_of_any_length_answers_with_sound(tmp_path: Path) -> None:
    path = tmp_path / "double.tflite"
    path.write_bytes(tflite_files.double())
    teacher = teachers.enhancer(path, 16000)
    for length in (50, 40):
        torch.testing.assert_close(teacher(_noisy(length)), 2 * _noisy(length))


def test_a_tflite_that_takes_no_waveform_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file([Shape(4, 4, None, None)], vectors=2))
    with pytest.raises(BadInputError, match="takes one waveform"):
        teachers.enhancer(path, 16000)
    graph = _Graph()
    x, y = (graph.tensor((1, 50), schema.TensorType.INT8) for _ in range(2))
    path.write_bytes(graph.written(x, y))
    with pytest.raises(BadInputError, match="takes one waveform"):
        teachers.enhancer(path, 16000)
    path.write_bytes(tflite_files.double(()))
    with pytest.raises(BadInputError, match="takes one waveform"):
        teachers.enhancer(path, 16000)
    path.write_bytes(tflite_files.constant())
    with pytest.raises(BadInputError, match="takes one waveform"):
        teachers.enhancer(path, 16000)
    path.write_bytes(b"no model")
    with pytest.raises(BadInputError, match=r"model\.tflite: not a readable model"):
        teachers.enhancer(path, 16000)
    with pytest.raises(BadInputError, match="a teacher is a bundle"):
        (tmp_path / "model.h5").write_bytes(b"")
        teachers.enhancer(tmp_path / "model.h5", 16000)


def test_a_tflite_is_heard_before_it_teaches(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(file([Shape(5, 50, None, None)]))
    with pytest.raises(BadInputError, match=r"model\.tflite: answers 50 samples with 5 values"):
        teachers.enhancer(path, 16000)
    graph = _Graph()
    x, y = graph.tensor((1, 1)), graph.tensor((1, 3))
    graph.graph.tensors[x].shapeSignature = [1, -1]
    graph.operator("ADD", [x, graph.constant(np.ones((1, 3), np.float32))], y, "AddOptions")
    path.write_bytes(graph.written(x, y))
    with pytest.raises(BadInputError, match=r"model\.tflite: does not run on 16000 samples"):
        teachers.enhancer(path, 16000)


def test_an_onnx_is_heard_before_it_teaches(tmp_path: Path) -> None:
    """One value per recording is no sound: filled up with zeros, it would teach silence."""
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_files.chain("GlobalAveragePool", shape=[1, 1, "t"]))
    with pytest.raises(BadInputError, match=r"model\.onnx: answers 16000 samples with 1 values"):
        teachers.enhancer(path, 16000)
