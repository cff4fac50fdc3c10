"""The files that are timed compute what the stored matrices compute, with the same operators."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from compress import distributed
from compress.export import convert
from compress.quantization import inspect
from compress.rnn import timing
from compress.rnn.forms import Shape, shape_of
from compress.rnn.timing import file
from compress.task import OneStep
from device.runtime import Runtime
from models.projections import Matrix, Projection

GATHERED_LOW_RANK = Shape(6, 9, 4, 2)


@pytest.mark.parametrize(
    "shape",
    [Shape(6, 9, None, None), Shape(6, 9, 4, None), Shape(6, 9, None, 2), GATHERED_LOW_RANK],
)
@pytest.mark.parametrize("vectors", [1, 4])
def test_the_file_is_matrices_of_ones(shape: Shape, vectors: int, tmp_path: Path) -> None:
    model = tmp_path / "m.tflite"
    other = Shape(2, 9, 3, None)
    model.write_bytes(file([shape, other], vectors))
    x = np.arange(9 * vectors, dtype=np.float32).reshape(vectors, 9)
    width = shape.inputs if shape.kept is None else shape.kept
    first = x[:, :width].sum(1, keepdims=True) * (1 if shape.rank is None else shape.rank)
    expected = np.hstack([*[first] * 6, *[x[:, :3].sum(1, keepdims=True)] * 2])
    assert Runtime(model)({"x": x})["y"] == pytest.approx(expected)


def test_processes_agree_on_the_least_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def least(values: NDArray[np.float64]) -> NDArray[np.float64]:
        asked.append(float(values))
        return np.array(0.25)  # another process was faster

    monkeypatch.setattr(distributed, "least", least)
    timing._measured.cache_clear()
    assert [timing.by_time([Shape(3, 5, None, None)]) for _ in range(2)] == [0.25, 0.25]
    assert len(asked) == 1 and asked[0] > 0
    timing._measured.cache_clear()  # nobody else may read what was made up


class _Alone(nn.Module):
    def __init__(self, side: Projection) -> None:
        super().__init__()
        self.side = side

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (self.side(x),)


@pytest.mark.parametrize("vectors", [1, 4])
def test_the_converter_makes_the_same_operators(vectors: int, tmp_path: Path) -> None:
    columns = torch.tensor([0, 2, 3, 8]), torch.tensor([1, 2, 7])
    side = Projection(
        3,
        [
            Matrix(9, [torch.randn(6, 2), torch.randn(2, 4)], columns[0]),
            Matrix(9, [torch.randn(6, 3)], columns[1]),
            Matrix(9, [torch.randn(6, 9)]),
        ],
    )
    example = {"x": np.ones((vectors, 9), np.float32)}
    convert(
        OneStep(net=_Alone(side), inputs={"x": ""}, outputs={"y": ""}, examples=[example]),
        tmp_path / "converted.tflite",
    )
    (tmp_path / "written.tflite").write_bytes(
        file([shape_of(part) for part in side.parts], vectors)
    )
    converted, written = (
        inspect(tmp_path / f"{name}.tflite").operators for name in ("converted", "written")
    )
    assert converted == written
