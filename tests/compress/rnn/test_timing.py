"""The files that are timed compute what the stored matrices compute, with the same operators."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress.export import convert
from compress.quantization import inspect
from compress.rnn.forms import Shape
from compress.rnn.timing import file
from compress.task import OneStep
from device.runtime import Runtime
from models.projections import Matrix

GATHERED_LOW_RANK = Shape(6, 9, 4, 2)


@pytest.mark.parametrize(
    "shape",
    [Shape(6, 9, None, None), Shape(6, 9, 4, None), Shape(6, 9, None, 2), GATHERED_LOW_RANK],
)
def test_the_file_is_the_matrix_of_ones(shape: Shape, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    model.write_bytes(file(shape))
    x = np.arange(9, dtype=np.float32)[None]
    width = shape.inputs if shape.kept is None else shape.kept
    expected = x[:, :width].sum() * (1 if shape.rank is None else shape.rank)
    assert Runtime(model)({"x": x})["y"] == pytest.approx(np.full((1, 6), expected))


class _Alone(nn.Module):
    def __init__(self, matrix: Matrix) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.matrix(x),)


def test_the_converter_makes_the_same_operators(tmp_path: Path) -> None:
    matrix = Matrix(9, [torch.randn(6, 2), torch.randn(2, 4)], torch.tensor([0, 2, 3, 8]))
    example = {"x": np.ones((1, 9), np.float32)}
    convert(
        OneStep(net=_Alone(matrix), inputs={"x": ""}, outputs={"y": ""}, examples=[example]),
        tmp_path / "converted.tflite",
    )
    (tmp_path / "written.tflite").write_bytes(file(GATHERED_LOW_RANK))
    converted, written = (
        inspect(tmp_path / f"{name}.tflite").operators for name in ("converted", "written")
    )
    assert converted == written
