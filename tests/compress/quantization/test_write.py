"""Every scheme as a file: near float, as small as it says, with the error of each layer."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from compress import export
from compress.quantization import SCHEMES, Example, check, inspect, quantize, sqnr
from compress.steps import Quantize
from compress.task import OneStep
from device.errors import BadInputError, FieldwrenError
from device.runtime import Runtime
from tests.compress.quantization.conftest import Converted


@pytest.mark.parametrize(
    ("scheme", "size", "error"),
    [
        ("fp16", 0.75, 2e-3),
        ("weight-int8", 0.7, 0.1),
        ("dynamic-int8", 0.7, 0.1),
        ("static-int8", 0.7, 0.1),
    ],
)
def test_schemes_are_near_float_and_smaller(
    converted: Converted, tmp_path: Path, scheme: str, size: float, error: float
) -> None:
    path = converted.quantized(tmp_path / "m.tflite", scheme)
    expected, got = converted.answers(converted.plain), converted.answers(path)
    assert 0 < np.sqrt(((got - expected) ** 2).mean()) < error * expected.std()
    assert path.stat().st_size < size * converted.plain.stat().st_size
    assert check(path, SCHEMES[scheme]).weights == {SCHEMES[scheme].weights: 8}


def test_sixteen_bit_activations_leave_only_the_weights_error(
    converted: Converted, int8: Path, tmp_path: Path
) -> None:
    path = converted.quantized(tmp_path / "m.tflite", "static-int16x8")
    assert {layer.input for layer in inspect(path).layers} == {"INT16"}
    expected = converted.answers(converted.plain)
    wide, narrow = (((converted.answers(p) - expected) ** 2).mean() for p in (path, int8))
    assert wide < 0.7 * narrow


def test_layer_errors_are_those_of_the_tensors(converted: Converted, int8: Path) -> None:
    """The last layer's figure against the answers themselves, by the plain kernels."""
    examples = converted.examples[:5]
    errors = sqnr.layers(converted.plain, int8, examples)
    assert [error.operator for error in errors].count("DEPTHWISE_CONV_2D") == 2
    x, q = (
        np.stack([Runtime(path, delegate="none")(e)["output_0"] for e in examples]).astype(float)
        for path in (converted.plain, int8)
    )
    assert errors[-1].operator == "FULLY_CONNECTED"
    assert errors[-1].sqnr_db == pytest.approx(
        10 * np.log10((x**2).sum() / ((x - q) ** 2).sum()), abs=1e-3
    )
    assert errors[0].sqnr_db > errors[-1].sqnr_db  # noise adds up
    assert all(10 < error.sqnr_db < 60 for error in errors)
    same = sqnr.layers(converted.plain, converted.plain, examples[:1])
    assert {error.sqnr_db for error in same} == {sqnr.EXACT}
    drawn = sqnr.figure(errors)
    assert sum(len(series.x) for series in drawn.series) == len(errors)


class Step(nn.Module):
    """One frame of an LSTM, its state explicit, as it is deployed."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.recall = nn.Linear(40, 4 * 64), nn.Linear(64, 4 * 64, bias=False)
        self.answer = nn.Linear(64, 20)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        i, f, g, o = (self.read(x) + self.recall(h)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return self.answer(h), h, c


def test_an_lstm_goes_to_dynamic_int8_with_all_its_matrices(tmp_path: Path) -> None:
    torch.manual_seed(0)
    examples = [
        {name: torch.randn(1, size).numpy() for name, size in (("x", 40), ("h", 64), ("c", 64))}
        for _ in range(8)
    ]
    names = {"y": "", "h": "", "c": ""}
    step = OneStep(
        net=Step().eval(), inputs=dict.fromkeys("xhc", ""), outputs=names, examples=examples
    )
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    export.convert(step, plain)
    fed = export.by_key(step, examples)
    numbers = Quantize(kind="quantize", scheme="dynamic-int8")
    made = quantize(plain, numbers, fed, int8)
    assert made.audit.weights == {"INT8": 3}
    assert {layer.scales for layer in made.audit.layers} == {256, 20}
    assert int8.stat().st_size < 0.45 * plain.stat().st_size
    mixed_numbers = Quantize(kind="quantize", scheme="mixed-int8")  # XNNPACK loses a state
    with pytest.raises(BadInputError, match=r"mixed-int8 is not for this model: .*; dynamic-int8"):
        quantize(plain, mixed_numbers, fed, tmp_path / "mixed.tflite")
    for scheme in ("static-int8", "static-int16x8"):  # states are outputs, which stay float
        whole = Quantize.model_validate({"kind": "quantize", "scheme": scheme})
        with pytest.raises(
            FieldwrenError, match=r"FLOAT32 where INT\d+ is wanted: take dynamic-int"
        ):
            quantize(plain, whole, fed, tmp_path / "static.tflite")
    for key in ("output_0", "output_1", "output_2"):
        x, q = (np.stack([Runtime(p)(e)[key] for e in fed]) for p in (plain, int8))
        assert 0 < np.sqrt(((q - x) ** 2).mean()) < 0.02 * x.std()


class Wider(nn.Module):
    """A convolution, and one that makes more frames of few."""

    def __init__(self) -> None:
        super().__init__()
        self.narrow = nn.Conv1d(8, 16, 3, padding=1)
        self.widen = nn.ConvTranspose1d(16, 8, 4, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.widen(torch.relu(self.narrow(x)))
        return y


class Banded(nn.Module):
    """A matrix for each of four bands."""

    def __init__(self) -> None:
        super().__init__()
        self.bands, self.answer = nn.Parameter(torch.randn(4, 40, 64)), nn.Linear(64, 24)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.answer(torch.relu(x @ self.bands))
        return y


def _one_step(net: nn.Module, shape: tuple[int, ...], plain: Path) -> list[Example]:
    """The network as a float file; inputs by its keys."""
    examples = [{"x": torch.randn(shape).numpy()} for _ in range(8)]
    step = OneStep(net=net.eval(), inputs={"x": ""}, outputs={"y": ""}, examples=examples)
    export.convert(step, plain)
    return export.by_key(step, examples)


def _relative(plain: Path, other: Path, fed: list[Example]) -> float:
    x, q = (np.stack([Runtime(path)(e)["output_0"] for e in fed]) for path in (plain, other))
    return float(np.sqrt(((q - x) ** 2).mean()) / x.std())


MIXED = {"scheme": "mixed-int8", "spare": 0.9}


@pytest.mark.parametrize(
    ("table", "kept"),
    [
        ({"scheme": "mixed-int8", "spare": 0.0}, "INT8"),
        (MIXED | {"high": "fp32"}, "FLOAT32"),
        (MIXED | {"high": "fp16"}, "FLOAT16"),
        (MIXED | {"high": "int16x8"}, "INT8"),
        ({"scheme": "static-int8", "keep": ["widen"]}, "FLOAT16"),
        ({"scheme": "dynamic-int8", "keep": ["widen"]}, "FLOAT16"),
        ({"scheme": "weight-int8"}, "INT8"),
    ],
)
def test_transposed_convolutions_may_have_numbers_of_their_own(
    tmp_path: Path, table: dict[str, object], kept: str
) -> None:
    """The quantizer calls this operation otherwise than the file."""
    torch.manual_seed(0)
    net = Wider()
    with torch.no_grad():
        net.widen.weight[:, :, :2] *= 50  # the layer that suffers
    fed = _one_step(net, (1, 8, 32), tmp_path / "float.tflite")
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    made = quantize(tmp_path / "float.tflite", numbers, fed, tmp_path / "m.tflite")
    layers = {layer.operator: layer for layer in made.audit.layers}
    assert (layers["CONV_2D"].weight, layers["TRANSPOSE_CONV"].weight) == ("INT8", kept)
    error = _relative(tmp_path / "float.tflite", tmp_path / "m.tflite", fed)
    assert 0 < error < 0.03
    if "high" in table:
        assert [one.operator for one in made.sensitivities if one.spared] == ["TRANSPOSE_CONV"]


@pytest.mark.parametrize(
    ("table", "scales"),
    [
        ({"scheme": "dynamic-int8"}, 64),
        ({"scheme": "weight-int8"}, 64),
        ({"scheme": "static-int8"}, 1),
        ({"scheme": "static-int16x8"}, 1),
        ({"scheme": "mixed-int8", "spare": 0.0}, 1),
        (MIXED | {"high": "int16x8"}, 1),
    ],
)
def test_a_matrix_for_each_band_has_the_scales_that_its_kernel_reads(
    tmp_path: Path, table: dict[str, object], scales: int
) -> None:
    """One a column, along the last axis; the integer kernels read one alone."""
    torch.manual_seed(0)
    plain, int8 = tmp_path / "float.tflite", tmp_path / "int8.tflite"
    fed = _one_step(Banded(), (4, 7, 40), plain)
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    made = quantize(plain, numbers, fed, int8)
    assert {layer.operator: layer.scales for layer in made.audit.layers} == {
        "BATCH_MATMUL": scales,
        "FULLY_CONNECTED": 24,
    }
    assert 0 < _relative(plain, int8, fed) < 0.03
    if scales > 1:
        with pytest.raises(FieldwrenError, match=r"64 scales to the weight of a BATCH.* one$"):
            check(int8, SCHEMES["static-int8"])


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"scheme": "fp16"}, r"FLOAT32: .*Banded.*: take dynamic-int8 or fp32"),
        ({"scheme": "dynamic-int8", "keep": ["*Banded*"]}, r"Banded.* BATCH_M.*: leave it out of"),
        (MIXED | {"high": "fp16"}, r'Banded.* BATCH_MATMUL .*: take high = "fp32"'),
    ],
)
def test_a_matrix_that_has_no_float16_is_named_with_what_to_take(
    tmp_path: Path, table: dict[str, object], reason: str
) -> None:
    torch.manual_seed(0)
    plain = tmp_path / "float.tflite"
    fed = _one_step(Banded(), (4, 7, 40), plain)
    numbers = Quantize.model_validate({"kind": "quantize", **table})
    with pytest.raises(FieldwrenError, match=reason):
        quantize(plain, numbers, fed, tmp_path / "made.tflite")
